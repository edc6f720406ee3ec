from tests.support.fixtures import plain, plain_gateway, workshop, workshop_gateway

__all__ = ["plain", "plain_gateway", "workshop", "workshop_gateway"]
