"""The catalogue of problems: every error that the API answers with, by its stable `code`.

A problem is an RFC 9457 document, `application/problem+json`. Clients branch on `code`; `title` is for people and never
changes for a code; `detail` says what happened this time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:masktune:problem:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem. `example` is a `detail` as a client would see it, for the documentation."""

    code: str
    status: int
    title: str
    example: str


_TYPES = (
    ProblemType("malformed_json", 400, "The body is not JSON", "Expecting ',' delimiter at character 27."),
    ProblemType("malformed_request", 400, "The request cannot be read", "The body could not be parsed."),
    ProblemType(
        "unauthenticated",
        401,
        "A valid API key is needed",
        "Send 'Authorization: Bearer mt_…' with a key that is not revoked.",
    ),
    ProblemType(
        "insufficient_scope",
        403,
        "The key may not do this",
        "This needs a key of scope 'write'; the one sent has 'read'.",
    ),
    ProblemType(
        "csrf_failed",
        403,
        "The page's token is missing or wrong",
        "Send the page's token as 'X-CSRF-Token'. If the page is old, load it again.",
    ),
    ProblemType("route_not_found", 404, "No such address", "There is nothing at /v2/jobs; see /docs."),
    ProblemType("upload_not_found", 404, "No such upload", "No upload 01985f2e-… is visible to this key."),
    ProblemType("dataset_not_found", 404, "No such data set", "No dataset 01985f2e-… is visible to this key."),
    ProblemType("report_not_found", 404, "The data set has no report", "It was checked by an earlier version."),
    ProblemType("image_not_found", 404, "No such image", "The data set has no image 99999."),
    ProblemType("checkpoint_not_found", 404, "No such checkpoint", "No checkpoint 01985f2e-… is visible to this key."),
    ProblemType("job_not_found", 404, "No such job", "No job 01985f2e-… is visible to this key."),
    ProblemType("artifact_not_found", 404, "No such artifact", "The job has no artifact 'model.pt' (yet)."),
    ProblemType("sample_not_found", 404, "No such sample", "The job has no sample 99999 (yet)."),
    ProblemType("insight_not_found", 404, "Nothing known of this yet", "The job is running; wait for its last pass."),
    ProblemType("webhook_not_found", 404, "No such webhook", "No webhook 01985f2e-… is visible to this key."),
    ProblemType("delivery_not_found", 404, "No such delivery", "No delivery 01985f2e-… is visible to this key."),
    ProblemType("api_key_not_found", 404, "No such key", "No api_key 01985f2e-… is visible to this key."),
    ProblemType("preset_not_found", 404, "No such preset", "No preset 'mnist': use one of biased_mnist, waterbirds, …"),
    ProblemType("method_not_allowed", 405, "Method not allowed here", "PATCH is not allowed here; use GET, POST."),
    ProblemType("request_timeout", 408, "The body stopped coming", "No byte arrived for 60 seconds; send it again."),
    ProblemType("dataset_not_ready", 409, "The data set is not ready", "It is still validating; wait for 'ready'."),
    ProblemType(
        "dataset_invalid", 409, "The data set is invalid", "Intake found 3 problems; upload a repaired archive."
    ),
    ProblemType(
        "dataset_in_use", 409, "Jobs use the data set", "2 unfinished jobs use it; cancel or await them first."
    ),
    ProblemType(
        "checkpoint_not_ready", 409, "The checkpoint is not ready", "It is still validating; wait for 'ready'."
    ),
    ProblemType("checkpoint_invalid", 409, "The checkpoint is invalid", "Its keys do not match resnet18."),
    ProblemType("checkpoint_in_use", 409, "Jobs use the checkpoint", "A job uses it; delete the job first."),
    ProblemType(
        "job_finished", 409, "The job has finished", "The job has already succeeded; nothing is left to cancel."
    ),
    ProblemType(
        "job_not_pausable", 409, "The job cannot be paused", "The job is cancelling: only a queued or running one can."
    ),
    ProblemType(
        "job_not_resumable", 409, "The job cannot be resumed", "The job is pausing: wait until it has stopped."
    ),
    ProblemType("job_not_finished", 409, "The job has not finished", "The job is running; cancel it first."),
    ProblemType(
        "job_without_dataset", 410, "The job's data set is gone", "Its data set was deleted, and the images with it."
    ),
    ProblemType("api_key_inactive", 409, "The key does not work any more", "It is revoked or over: make a new key."),
    ProblemType("api_key_replaced", 409, "The key has a successor", "It was rotated before: rotate its successor."),
    ProblemType("too_many_webhooks", 409, "No more webhooks", "A tenant has at most 20 webhooks: delete one first."),
    ProblemType("conflict", 409, "The request conflicts with the present state", "Something changed meanwhile."),
    ProblemType("upload_expired", 410, "The upload has expired", "Upload 01985f2e-… has expired: begin a new one."),
    ProblemType("offset_mismatch", 409, "The upload goes on elsewhere", "It goes on at byte 1048576, not at 0."),
    ProblemType(
        "upload_superseded", 409, "Another request goes on with the upload", "A newer request took it over or ended it."
    ),
    ProblemType("upload_not_complete", 409, "The upload is not complete", "1024 of 5242880 bytes are here; go on."),
    ProblemType(
        "upload_verifying",
        409,
        "The upload is being verified",
        "Every byte is here: ask until its status is 'complete'.",
    ),
    ProblemType("upload_failed", 410, "The upload failed", "Its bytes were not the announced ones: begin a new one."),
    ProblemType("upload_is_multipart", 409, "The upload's parts go to S3", "See POST /v1/uploads/{id}/parts."),
    ProblemType("upload_not_multipart", 409, "The upload has no parts", "It was begun without 'multipart'."),
    ProblemType("multipart_unavailable", 409, "Parts cannot be sent to S3", "This service does not store in S3."),
    ProblemType("multipart_invalid", 409, "S3 refuses the parts", "S3 refuses the parts (InvalidPart)."),
    ProblemType(
        "tus_version_unsupported", 412, "Another version of tus is spoken", "Send 'Tus-Resumable: 1.0.0'; got '0.2.2'."
    ),
    ProblemType("quota_exceeded", 413, "The tenant has as much as it may have", "11 more bytes exceed the limit."),
    ProblemType("content_too_large", 413, "The body is too large", "At most 53687091200 bytes are accepted."),
    ProblemType("unsupported_media_type", 415, "Send JSON", "Send the body as 'Content-Type: application/json'."),
    ProblemType("rate_limited", 429, "Too many requests", "This key may make 3000 requests in 60 seconds."),
    ProblemType("too_many_streams", 429, "Too many event streams at a time", "Close a stream before you open another."),
    ProblemType("too_many_logins", 429, "Too many tries to log in", "Wait a minute, then try again."),
    ProblemType("range_not_satisfiable", 416, "The range is outside the file", "The file has 1024 bytes."),
    ProblemType("invalid_request", 422, "The request is not valid", "1 field is not valid."),
    ProblemType("invalid_config", 422, "The configuration is not valid", "2 fields are not valid."),
    ProblemType("unknown_preset", 422, "No such preset", "unknown preset 'mnist': use one of biased_mnist, …"),
    ProblemType(
        "unknown_attribute", 422, "The data set has no such attribute", "It has no 'place': use one of square."
    ),
    ProblemType(
        "checkpoint_architecture_mismatch",
        422,
        "The checkpoint is of another architecture",
        "The checkpoint is a resnet18, the configuration asks for small_cnn.",
    ),
    ProblemType(
        "checkpoint_classes_mismatch",
        422,
        "The checkpoint has another number of classes",
        "The checkpoint tells 10 classes apart, the data set has 2.",
    ),
    ProblemType(
        "checkpoint_class_names_mismatch",
        422,
        "The checkpoint's classes are others, or in another order",
        "Output 0 of the checkpoint is '5-9', label 0 of the data set is '0-4'.",
    ),
    ProblemType(
        "idempotency_mismatch",
        422,
        "The Idempotency-Key was used for another request",
        "This key came with another body before; use a fresh key for a new request.",
    ),
    ProblemType(
        "checksum_mismatch", 422, "The bytes are not the announced ones", "X-Content-SHA256 says 9f…, got 3a…."
    ),
    ProblemType("too_many_datasets", 429, "The tenant has all its data sets", "1000 of 1000: delete some."),
    ProblemType("too_many_jobs", 429, "As many jobs wait or run as may", "200 of 200 are unfinished: await some."),
    ProblemType("upload_locked", 423, "Another request is adding to the upload", "Wait for its end, then ask again."),
    ProblemType(
        "upload_checksum_mismatch",
        460,
        "The bytes are not those of Upload-Checksum",
        "The sha1 is another.",
    ),
    ProblemType("internal_error", 500, "Something went wrong here", "The error was logged under the request_id."),
    ProblemType("object_missing", 500, "Stored bytes are missing", "Object 9f… is not in the store."),
    ProblemType("object_corrupt", 500, "Stored bytes are damaged", "Object 9f… does not have its hash any more."),
    ProblemType("service_unavailable", 503, "Not available right now", "The database cannot be reached; try again."),
    ProblemType("out_of_disk", 507, "The object store is full", "1073741824 bytes are needed; 52428800 are free."),
)
PROBLEMS: Final[dict[str, ProblemType]] = {problem.code: problem for problem in _TYPES}


class FieldProblem(BaseModel):
    """One field that is not valid."""

    location: str = Field(description="Where it was sent: body, query, path, header or cookie.", examples=["body"])
    pointer: str | None = Field(
        default=None, description="JSON pointer (RFC 6901) into the body.", examples=["/config/erm/epochs"]
    )
    name: str | None = Field(default=None, description="Name of the parameter or header.", examples=["limit"])
    code: str = Field(description="Stable kind of violation.", examples=["greater_than_equal"])
    detail: str = Field(description="What is wrong.", examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """Problem details for HTTP APIs (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URI of the problem's type.", examples=["urn:masktune:problem:job_not_found"])
    title: str = Field(description="What kind of problem this is; fixed for a code.", examples=["No such job"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened this time.", examples=["No job 01985f2e-… is visible to this key."])
    code: str = Field(description="Stable name of the problem, for programs.", examples=["job_not_found"])
    instance: str = Field(description="Path of the request.", examples=["/v1/jobs/01985f2e-…"])
    request_id: str = Field(description="Name of this request in the logs; also in X-Request-ID.", examples=["4f6a1c"])
    errors: list[FieldProblem] | None = Field(default=None, description="Each field that is not valid.")


def body(
    code: str, detail: str, *, instance: str, request_id: str, status: int | None = None, **extras: Any
) -> dict[str, Any]:
    """The problem document for `code`; `extras` are its extension members (RFC 9457, section 3.2)."""
    known = PROBLEMS[code if code in PROBLEMS else "conflict"]
    return {
        "type": TYPE_PREFIX + code,
        "title": known.title,
        "status": status or known.status,
        "detail": detail,
        "code": code,
        "instance": instance,
        "request_id": request_id,
        **extras,
    }


EVERYWHERE: Final = (
    "unauthenticated",
    "insufficient_scope",
    "rate_limited",
    "invalid_request",
    "internal_error",
    "service_unavailable",
)


def responses(*codes: str, everywhere: tuple[str, ...] = EVERYWHERE) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` that document the problems an operation answers with, one example a code.

    Every operation behind a key also answers with those in `everywhere`, and one that takes JSON, with those that come
    before the body is there.
    """
    by_status: dict[int | str, dict[str, Any]] = {}
    of_bodies = ("request_timeout",) if "malformed_json" in codes else ()
    for code in dict.fromkeys((*codes, *of_bodies, *everywhere)):
        problem = PROBLEMS[code]
        response = by_status.setdefault(
            problem.status,
            {
                "description": problem.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][code] = {
            "summary": problem.title,
            "value": body(code, problem.example, instance="/v1/…", request_id="0f3c9a5e7d1b4c62"),
        }
    return dict(sorted(by_status.items(), key=lambda item: int(item[0])))
