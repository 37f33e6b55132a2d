"""Real nodes for tests of the commands."""

from tests.scenarios.conftest import make_node, node, shared_node

__all__ = ["make_node", "node", "shared_node"]
