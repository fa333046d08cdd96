"""Programs that show runs while they train: TensorBoard, Weights & Biases, MLflow and SwanLab."""
