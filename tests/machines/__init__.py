"""Several hosts behind a balancer, each in a network namespace of its own."""
