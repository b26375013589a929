"""What a training would take, before it is started: operations, memory, hours, money, traffic, and failures on the way."""
