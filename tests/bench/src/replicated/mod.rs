//! Three replicas: the cluster of ours ([`trio`]), its peer ([`etcd`]), and what an outage costs ([`outages`]).

pub mod etcd;
pub mod outages;
pub mod trio;
