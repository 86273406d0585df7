"""Work: values in, values or files out; knows nothing of prefect, mlflow or dvc."""
