"""Orchestration: the only room that imports prefect, mlflow or dvc.

Importing it has one effect, and on purpose: the tools' telemetry is off before any of them is imported, Prefect leaves the console to us
(its own log goes to its server), and torch's idle threads soon sleep. A variable that is already set is left as it is.
"""

import os

ENVIRONMENT = {
    "DO_NOT_TRACK": "true",  # Prefect also takes 1; MLflow compares with "true"
    "DVC_NO_ANALYTICS": "1",
    "GOMP_SPINCOUNT": "1000",  # then torch's idle threads sleep: spinning on, a training step on busy cores takes four times as long
    "ITERATIVE_DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
