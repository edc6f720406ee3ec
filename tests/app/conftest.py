from tests.support.fixtures import plain, plain_gateway, process_log_as_it_was, workshop, workshop_gateway

__all__ = ["plain", "plain_gateway", "process_log_as_it_was", "workshop", "workshop_gateway"]
