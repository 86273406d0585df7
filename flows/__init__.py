"""Orchestration: the only room that imports prefect, mlflow or dvc."""
