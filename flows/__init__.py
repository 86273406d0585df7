"""Orchestration: the only room that imports prefect, mlflow or dvc.

Importing it has one effect, and on purpose: the tools' telemetry is off before any of them is imported, Prefect leaves the console to us
(its own log goes to its server), and torch's idle threads sleep. A variable that is already set is left as it is.
"""

import os

ENVIRONMENT = {
    "DO_NOT_TRACK": "true",  # Prefect also takes 1; MLflow compares with "true"
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "OMP_WAIT_POLICY": "passive",  # spinning costs whoever shares the cores: a SycoNet step on busy ones took five times as long
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
