"""Parts of the fused kernel; only `field` and `sweep` import triton."""
