"""Access rules of brokers that allow everything for which there is no rule."""

from __future__ import annotations

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

BROKER_SETTINGS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
_TIMEOUT_S = 30


def allow(admin: AdminClient, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    """Allow these operations on a resource, and no others but those allowed before."""
    rules = [
        AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in operations
    ]
    for made in admin.create_acls(rules).values():
        made.result(_TIMEOUT_S)
