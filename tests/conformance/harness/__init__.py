"""What the conformance tests run: certificates, origins that record, gateway processes, raw clients."""
