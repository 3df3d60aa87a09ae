//! A listener with mTLS, from its address to its serving.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::app::AppError;
use crate::clock;
use crate::config::Listener;
use crate::edge::release::Release;
use crate::edge::{EdgeCounters, Limits, Plane, Trust, WallClock};
use crate::gate::GatedExecutor;

/// One mTLS listener before it serves.
pub(crate) struct Door {
    name: &'static str,
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) trust: Arc<Trust>,
    counters: Arc<EdgeCounters>,
}

impl Door {
    pub(crate) async fn open(name: &'static str, config: &Listener) -> Result<Self, AppError> {
        let clock: WallClock = Arc::new(clock::wall_time);
        let trust = Trust::load(config.trust(), clock);
        let trust =
            trust.map_err(|source| AppError::Trust { plane: name, source: Arc::new(source) })?;
        let address = config.listen;
        let fault = |source| AppError::Listen { plane: name, address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        tokio::spawn(trust.clone().follow());
        let counters = Arc::new(EdgeCounters::default());
        Ok(Self { name, listener, address, trust, counters })
    }

    pub(crate) fn trust(&self) -> (&'static str, Arc<Trust>) {
        (self.name, self.trust.clone())
    }

    pub(crate) fn counters(&self) -> (&'static str, Arc<EdgeCounters>) {
        (if self.name == "data plane" { "data" } else { "control" }, self.counters.clone())
    }

    pub(crate) async fn serve(self, service: Release<Routes>, stop: impl Future<Output = ()>) {
        let Self { listener, trust, counters, .. } = self;
        let plane = Plane { listener, trust, limits: Limits::default(), counters };
        plane.serve(service, GatedExecutor, stop).await;
    }
}
