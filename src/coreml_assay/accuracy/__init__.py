"""How much of a real model's accuracy a quantization keeps."""
