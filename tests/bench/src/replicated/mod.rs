//! Three replicas: the cluster of ours ([`trio`]), its peer ([`etcd`]), and what an outage
//! costs ([`outages`]), a cut and a move ([`borders`]), and a thousand groups.

pub mod borders;
pub mod etcd;
pub mod outages;
pub mod trio;
