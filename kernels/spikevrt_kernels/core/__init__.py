"""What operators and checks share: launches, backends, costs, cases."""
