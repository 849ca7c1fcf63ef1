x = {{_base_.lr}}
