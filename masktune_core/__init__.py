"""MaskTune: find the pixels a classifier relies on, mask them, finetune it to explore others.

The package is a plain PyTorch library: no web, no database, no queue. This file stays free of torch, so that
`masktune_core.config` can be imported where torch is not installed.
"""
