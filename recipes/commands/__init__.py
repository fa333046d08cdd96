"""The commands of `trickbook`. Each is a module here with a function `main(arguments)`; this is the table of all."""

COMMANDS = {
    "train": "fine-tune a classifier, or a sweep of them",
    "doctor": "check data, model and tricks before training, or a finished run",
    "predict": "predict a file of any size with a finished run",
    "export": "write a finished run as ONNX, or upload it to the Hugging Face hub",
    "report": "write a page about finished runs",
    "choose": "predict which tricks are worth trying first on your data",
    "judge": "judge runs that other programs made",
    "tricks": "list the tricks, or show one with its settings",
}
"""Each command, which is the name of its module too, with what it does."""
