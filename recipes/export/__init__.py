"""Take a finished run elsewhere: an ONNX file that needs no torch, or a repository on the Hugging Face hub."""
