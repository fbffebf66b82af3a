"""A Kubernetes cluster on one Linux machine, without Docker, without a registry, without a way out.

    binaries.py   what a cluster runs, built from Go modules once and kept
    machine.py    what the machine must have; namespaces, processes, cgroups, mounts
    api.py        a small client of the API server, for what watches it
    control.py    etcd, API server, controllers, scheduler, names
    node.py       a node: containerd, kubelet, kube-proxy in a network of its own
    prometheus.py the metrics of all that PodMonitors select (and a process that finds it)
    disks.py      volumes on the nodes' disks (a process of its own)
    forward.py    a port of this machine that leads into the cluster (a process of its own)
    cluster.py    the whole: up, down, images, faults
"""
