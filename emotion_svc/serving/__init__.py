"""The HTTP service: wires, limits, metrics. Everything that a wire needs is passed in by `app.create_app`."""
