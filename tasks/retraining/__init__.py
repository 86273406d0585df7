"""What scheduled retraining needs: new data on its way in, what the gate looks at, what is told about a model."""
