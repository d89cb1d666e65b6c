"""A webhook points to the public internet or nowhere."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.webhook_targets import TargetRefused, check_url, is_callable_address, parse_networks

PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "3fff::1",
    "2001:10::1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not is_callable_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_called(address: str) -> None:
    assert is_callable_address(address)


@given(st.ip_addresses())
def test_no_special_address_is_called(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    called = is_callable_address(str(address))
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    assert not (called and special and getattr(address, "ipv4_mapped", None) is None)
    if isinstance(address, ipaddress.IPv4Address):
        assert is_callable_address(f"::ffff:{address}") == called


def test_the_operator_may_allow_networks() -> None:
    allowed = parse_networks("127.0.0.1/32, fd00::/8")
    assert is_callable_address("127.0.0.1", allowed)
    assert is_callable_address("fd00::1", allowed)
    assert not is_callable_address("127.0.0.2", allowed)
    assert not is_callable_address("10.0.0.1", allowed)
    assert parse_networks("") == ()
    with pytest.raises(ValueError, match="does not appear"):
        parse_networks("everything")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hook?team=a",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
    ],
)
def test_a_public_address_is_accepted(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "//example.com",
        "example.com",
        "https://",
        "https:///path",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://user:password@example.com/",
        "https://example.com/#fragment",
        "https://bücher.example/",
        "https://example.com/ x",
        "https://example.com\\@127.0.0.1/",
        "https://exam\nple.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::1/",
        "https://169.254.169.254/latest/meta-data",
        "https://example.com/" + "x" * 2000,
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        check_url(url)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            check_url(url)
        except TargetRefused:
            continue
        assert url.startswith("https://")


def test_plain_http_is_for_allowed_networks_only() -> None:
    with pytest.raises(TargetRefused, match="https"):
        check_url("http://10.0.0.1/")
    check_url("http://10.0.0.1/", parse_networks("10.0.0.0/8"))
