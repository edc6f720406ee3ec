"""Every code that a finding can have: what it means, and what to do.

Reports and `docs/check.md` show it. A code is stable: it is never reworded, as pipelines may name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code says, whatever the manifest."""

    meaning: str
    """What is wrong, in one sentence."""
    remedy: str
    """What to do about it, in one sentence."""


CATALOGUE: Final[Mapping[str, Explanation]] = {
    "conditional-order": Explanation(
        "An entry of `conditional` without a condition is not the last one, so what follows it would never be asked.",
        "Move the entry without a condition to the end.",
    ),
    "config-not-found": Explanation(
        "A path of `EGRESS_CONFIG` does not exist.", "Set it to files and directories that do."
    ),
    "credential-conflict": Explanation(
        "Two credentials of one backend are written to the same place, and only one of them can be sent.",
        "Remove one of them, or give it another `location`.",
    ),
    "credential-for-any-host": Explanation(
        "A backend whose host every request names for itself has a credential, which would go wherever a caller says.",
        "Use a `static` backend for the host that the credential is for.",
    ),
    "credential-unverified": Explanation(
        "A credential goes to an origin whose certificate is not fully verified: anybody in between could take it.",
        "Remove `insecureSkipVerify`, or name the origin's CA in `caCertificateRefs`.",
    ),
    "credential-without-tls": Explanation(
        "A credential would be sent to an origin in plain text; it is never sent.", "Add `tls: {}` to the backend."
    ),
    "dangling-reference": Explanation(
        "A manifest refers to an object, or to a key or rule of one, that is not among the manifests.",
        "Correct the name or the namespace, or add the object.",
    ),
    "duplicate-key": Explanation(
        "A mapping has one key twice, and only one of them could be meant.", "Remove one of them."
    ),
    "duplicate-resource": Explanation("The same kind, namespace and name stands twice.", "Remove one of them."),
    "duplicate-user": Explanation(
        "An htpasswd file has one user twice; neither line is used.", "Remove one of the lines."
    ),
    "empty-file": Explanation(
        "A file holds no manifest; what it may have held before is no longer in force.",
        "Remove the file, or put the manifests back.",
    ),
    "expired-certificate": Explanation(
        "A certificate has expired, or is not valid yet.", "Renew it, and put the new one into its Secret or ConfigMap."
    ),
    "expired-policy": Explanation(
        "The time of the annotation `egress-gateway.dev/expires-at` has come.",
        "Remove the policy, or give it a later time.",
    ),
    "file-too-large": Explanation("A file is larger than is read.", "Split it."),
    "forbidden-header": Explanation(
        "A policy writes a header that says where a message goes or ends, or belongs to one connection.",
        "Remove the entry; another Host is written as `:authority`.",
    ),
    "host-conflict": Explanation(
        "Two services have the same host; only one of them is in force.", "Leave the host to one of them."
    ),
    "ignored-protocol": Explanation(
        "One of the `alpnProtocols` is not offered, because `http.version` speaks another.",
        "Leave it out, or change `http.version`.",
    ),
    "ignored-wildcard": Explanation(
        "A `*` stands where browsers take none, because credentials are allowed.", "List the names."
    ),
    "insecure-jwks": Explanation(
        "The keys that tokens are verified with are fetched in plain text, where they can be exchanged.",
        "Use https, or put the keys inline.",
    ),
    "invalid-annotation": Explanation(
        "An annotation `egress-gateway.dev/...` has a value that means nothing.",
        "Use one of the values that the message names.",
    ),
    "invalid-backend": Explanation(
        "A route's `backendRefs` names a kind that is no backend here.", "Refer to an AgentgatewayBackend or a Service."
    ),
    "invalid-certificate": Explanation(
        "A certificate or key is not readable as PEM, or the two do not belong together.",
        "Put PEM into the Secret: `tls.crt` with the leaf first, `tls.key` without a password, `ca.crt`.",
    ),
    "invalid-credential": Explanation(
        "A credential that is sent to an origin cannot be written in a header, query or cookie; nothing is sent.",
        "Correct the value in its Secret; a line break at its end is the usual cause.",
    ),
    "invalid-credentials": Explanation(
        "Something that callers are known by, such as a line of an htpasswd file or an API key, cannot be used.",
        "Correct it in its Secret or ConfigMap.",
    ),
    "invalid-expression": Explanation(
        "A CEL expression does not compile; what it stands in fails closed.",
        "Correct it at the caret; docs/cel.md lists the variables and functions.",
    ),
    "invalid-jwks": Explanation(
        "A key set, or a key in it, cannot be used; a token of that key is never valid.",
        "Correct the key set (RFC 7517), or remove the key.",
    ),
    "invalid-origin": Explanation(
        "A browser's origin in a list is not one.", "Write it as `https://app.example`, without a path."
    ),
    "invalid-parent": Explanation(
        "A route's `parentRefs` names something that a route cannot attach to.",
        "Attach it to a ServiceEntry or Gateway.",
    ),
    "invalid-path": Explanation(
        "A path is written that is never forwarded, because it could be read in two ways.",
        "Write it as docs/paths.md says.",
    ),
    "invalid-pattern": Explanation(
        "A regular expression does not compile.",
        "Write it in RE2's syntax, which has no backreferences and no lookaround.",
    ),
    "invalid-reference": Explanation(
        "A reference names a kind that cannot stand there.", "Refer to an object of the kind that the message names."
    ),
    "invalid-rewrite": Explanation(
        "A prefix is replaced where no prefix is matched.", "Match by `PathPrefix`, or use `ReplaceFullPath`."
    ),
    "invalid-setting": Explanation(
        "An environment variable `EGRESS_*` has a value that cannot be read.", "See docs/settings.md for its form."
    ),
    "invalid-target": Explanation(
        "A policy targets something that its blocks cannot apply to.",
        "Move the block to a policy with a target that can have it.",
    ),
    "invalid-value": Explanation(
        "A field has a value of the wrong type, outside its range, or that does not go with another field.",
        "Correct the value; docs/fields.md lists the fields.",
    ),
    "kind-not-available": Explanation(
        "A kind is known to AgentGateway and not available here; to skip it could drop a policy.",
        "Remove the manifest from what this gateway reads.",
    ),
    "missing-field": Explanation("A field that is required is not there.", "Add it."),
    "missing-target": Explanation(
        "A policy names no target, so it would apply to nothing.",
        "Add `targetRefs` or `targetSelectors`, one of the two.",
    ),
    "mixed-targets": Explanation("A policy has targets of several kinds.", "Split it, one policy for each kind."),
    "no-authorization": Explanation(
        "A route has no authorization rule and the default action is allow: every caller may use it.",
        "Attach an authorization policy, or set `EGRESS_DEFAULT_ACTION=deny`.",
    ),
    "no-backend": Explanation(
        "A route's rule has no backend, and nothing that answers in its place.",
        "Add `backendRefs`, a redirect or a direct response.",
    ),
    "no-credentials": Explanation(
        "A policy asks for credentials and knows none, so that nobody is let in.",
        "Add them to its Secret, or remove the policy.",
    ),
    "no-gateway": Explanation(
        "The manifests do not hold the Gateway that this process is.", "Add it, or correct `EGRESS_GATEWAY`."
    ),
    "no-manifests": Explanation(
        "The files and directories that were named hold no manifests.",
        "Name others: `*.yaml`, `*.yml` and `*.json` are read.",
    ),
    "no-route": Explanation(
        "A service has no HTTPRoute, and its host cannot be called without one.", "Add an HTTPRoute with a backend."
    ),
    "no-such-listener": Explanation(
        "A `sectionName` or port names a listener that the Gateway does not have.", "Name one of its listeners."
    ),
    "not-a-mapping": Explanation(
        "A document is no mapping, so it is no manifest.",
        "Remove it, or write it as `apiVersion`, `kind`, `metadata` and so on.",
    ),
    "not-available": Explanation(
        "A field or value is known to AgentGateway or Gateway API and not available here; it is never ignored.",
        "Remove it; docs/fields.md lists what works.",
    ),
    "not-by-port": Explanation(
        "A route names one port of a ServiceEntry, and takes the requests of all of them.",
        "Remove `sectionName` and `port`.",
    ),
    "not-enrolled": Explanation(
        "A ServiceEntry is not served, because no label of it or its Namespace names this gateway.",
        "Label it `istio.io/use-waypoint`.",
    ),
    "open-cors": Explanation(
        "Any website's scripts may read answers, with the credentials of who looks at it.",
        "List the origins in `allowOrigins`.",
    ),
    "pointless-expression": Explanation(
        "An expression always fails, or always has the same outcome.", "Correct the expression."
    ),
    "pointless-rule": Explanation("A rule can never be true, or always fails.", "Correct the expression."),
    "policy-conflict": Explanation(
        "Two policies set the same field on the same target; the older one is in force.", "Merge them."
    ),
    "protocol-conflict": Explanation(
        "`http.version`, `tls` and `alpnProtocols` of one backend contradict each other.",
        "Make them agree: HTTP/2 needs `tls`, and `h2` among its protocols.",
    ),
    "reference-not-granted": Explanation(
        "A reference leads into another namespace, and no ReferenceGrant there allows it.",
        "Add a ReferenceGrant in that namespace.",
    ),
    "route-not-allowed": Explanation(
        "The Gateway's listeners do not allow a route of this namespace or kind.",
        "Change their `allowedRoutes`, or move the route.",
    ),
    "setting-not-available": Explanation(
        "A setting is known and not available in this version.", "Unset it, or set it to `off`."
    ),
    "several-gateways": Explanation(
        "The manifests hold several Gateways, and it is unclear which one this process is.",
        "Choose one with `EGRESS_GATEWAY`.",
    ),
    "shadow-block": Explanation(
        "A policy in shadow mode has a block that is not in force: only authorization is evaluated then.",
        "Move the block to a policy without the annotation `egress-gateway.dev/mode`.",
    ),
    "skipped": Explanation(
        "A manifest is of a kind of which nothing is read.", "Nothing, unless the kind or its group is misspelt."
    ),
    "unknown-annotation": Explanation(
        "An annotation `egress-gateway.dev/...` does not exist, or not on this kind.", "Correct its name."
    ),
    "unknown-field": Explanation(
        "A field does not exist; a misspelt policy must not vanish.", "Correct its name, or remove it."
    ),
    "unknown-group": Explanation("A kind stands in an API group that does not have it.", "Correct `apiVersion`."),
    "unknown-kind": Explanation("A kind does not exist in its API group.", "Correct `kind`."),
    "unknown-setting": Explanation(
        "An environment variable `EGRESS_*` is no setting.", "Correct its name, or unset it."
    ),
    "unknown-version": Explanation("A kind is not read in this version.", "Use a version that the message names."),
    "unmatched-hostname": Explanation(
        "A route names a hostname that its service or listener does not have.", "Remove it, or add the host there."
    ),
    "unmatched-selector": Explanation(
        "A policy's `targetSelectors` select nothing.", "Correct the labels, or remove the entry."
    ),
    "unreachable-rule": Explanation(
        "A route's rule never gets a request, because another one takes all of them.",
        "Remove it, or change the matches.",
    ),
    "unreadable-directory": Explanation(
        "A directory cannot be read, so that a policy may be missing.", "Give this process the right to read it."
    ),
    "unreadable-file": Explanation(
        "A file cannot be read, so that a policy may be missing.",
        "Give this process the right to read it; the text must be UTF-8.",
    ),
    "unverified-origin": Explanation(
        "The origin's certificate is not verified, or its name is not.",
        "Remove `insecureSkipVerify`; `caCertificateRefs` and `sni` do for private origins.",
    ),
    "weak-hash": Explanation(
        "A user's password is hashed with SHA-1 without salt, which is guessed quickly.",
        "Make the line anew with `htpasswd -B`.",
    ),
    "yaml-key": Explanation("A key of a mapping is no text.", "Put it in quotes."),
    "yaml-limit": Explanation("A document has more values or levels than are read.", "Split it."),
    "yaml-merge": Explanation("A document uses a merge key (`<<`).", "Write the fields out."),
    "yaml-syntax": Explanation(
        "A file is not valid YAML; nothing behind the place was read.",
        "Correct the syntax; indentation is the usual cause.",
    ),
    "yaml-tag": Explanation("A value has a YAML tag that means nothing in a manifest.", "Remove the tag."),
}
