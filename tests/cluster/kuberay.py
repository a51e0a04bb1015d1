"""The fields of a RayJob and their types, as a JSON schema.

Those of `ray.io/v1` are KubeRay's own, from its reference (docs/reference/api.md) and the structs
that its CRD ray.io_rayjobs.yaml is made from (rayjob_types.go and raycluster_types.go in
ray-operator/apis/ray/v1), with `authOptions` of v1.5.1. Of Kubernetes' core/v1 there is what a pod
of ours may want. An API server refuses what it does not know, and so does the schema.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "number"}
WHOLE = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {}


def fields(*required: str, **known: Schema) -> Schema:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


QUANTITY = {
    "anyOf": [
        {"type": "integer"},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"},
    ]
}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
RESOURCES = fields(limits=QUANTITIES, requests=QUANTITIES)
PROFILE = fields("type", type=one_of("RuntimeDefault", "Localhost", "Unconfined"))
SECURITY = fields(
    allowPrivilegeEscalation=FLAG,
    capabilities=fields(add=many(TEXT), drop=many(TEXT)),
    privileged=FLAG,
    readOnlyRootFilesystem=FLAG,
    runAsGroup=WHOLE,
    runAsNonRoot=FLAG,
    runAsUser=WHOLE,
    seccompProfile=PROFILE,
)
MOUNT = fields("name", "mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG, subPath=TEXT)
VARIABLE = fields("name", name=TEXT, value=TEXT, valueFrom=ANY)
CONTAINER = fields(
    "name",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    command=many(TEXT),
    args=many(TEXT),
    env=many(VARIABLE),
    ports=many(
        fields("containerPort", name=TEXT, containerPort=WHOLE, protocol=one_of("TCP", "UDP"))
    ),
    resources=RESOURCES,
    securityContext=SECURITY,
    volumeMounts=many(MOUNT),
)
TOLERATION = fields(key=TEXT, operator=one_of("Exists", "Equal"), value=TEXT, effect=TEXT)
CLAIM = fields("claimName", claimName=TEXT, readOnly=FLAG)
POD = fields(
    "containers",
    automountServiceAccountToken=FLAG,
    containers=many(CONTAINER) | {"minItems": 1},
    imagePullSecrets=many(fields(name=TEXT)),
    nodeSelector=TEXTS,
    restartPolicy=one_of("Always", "OnFailure", "Never"),
    securityContext=fields(
        fsGroup=WHOLE,
        runAsGroup=WHOLE,
        runAsNonRoot=FLAG,
        runAsUser=WHOLE,
        seccompProfile=PROFILE,
    ),
    serviceAccountName=TEXT,
    terminationGracePeriodSeconds=WHOLE,
    tolerations=many(TOLERATION),
    volumes=many(fields("name", name=TEXT, persistentVolumeClaim=CLAIM, emptyDir=ANY)),
)
METADATA = fields(name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
TEMPLATE = fields("spec", metadata=METADATA, spec=POD)
AUTOSCALER = fields(
    env=many(VARIABLE),
    envFrom=many(ANY),
    idleTimeoutSeconds=WHOLE,
    image=TEXT,
    imagePullPolicy=TEXT,
    resources=RESOURCES,
    securityContext=SECURITY,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    volumeMounts=many(MOUNT),
)
HEAD = fields(
    "template",
    enableIngress=FLAG,
    headService=ANY,
    labels=TEXTS,
    rayStartParams=TEXTS,
    resources=TEXTS,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
    template=TEMPLATE,
)
WORKERS = fields(
    *("groupName", "minReplicas", "maxReplicas", "template"),
    groupName=TEXT,
    idleTimeoutSeconds=WHOLE,
    labels=TEXTS,
    maxReplicas=WHOLE,
    minReplicas=WHOLE,
    numOfHosts=WHOLE,
    rayStartParams=TEXTS,
    replicas=WHOLE,
    resources=TEXTS,
    scaleStrategy=ANY,
    suspend=FLAG,
    template=TEMPLATE,
)
CLUSTER = fields(
    "headGroupSpec",
    authOptions=fields(mode=one_of("token", "disabled")),
    autoscalerOptions=AUTOSCALER,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANY,
    headGroupSpec=HEAD,
    headServiceAnnotations=TEXTS,
    managedBy=TEXT,
    rayVersion=TEXT,
    suspend=FLAG,
    workerGroupSpecs=many(WORKERS),
)
JOB = fields(
    activeDeadlineSeconds=WHOLE | {"minimum": 1},
    backoffLimit=WHOLE,
    clusterSelector=TEXTS,
    deletionStrategy=ANY,
    entrypoint=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=TEXT,
    jobId=TEXT,
    managedBy=TEXT,
    metadata=TEXTS,
    rayClusterSpec=CLUSTER,
    runtimeEnvYAML=TEXT,
    shutdownAfterJobFinishes=FLAG,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterConfig=fields(backoffLimit=WHOLE),
    submitterPodTemplate=TEMPLATE,
    suspend=FLAG,
    ttlSecondsAfterFinished=WHOLE,
)
RAY_JOB = fields(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=METADATA,
    spec=JOB,
)
