"""Tests of ``srn_kernels``."""
