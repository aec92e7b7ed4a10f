//! The limits: bytes copied between two connections, every second one joined to the one before.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
    let tls = tls.map(TlsAcceptor::from);
    let mut tasks = JoinSet::new();
    loop {
        let (one, other) = (accept(&listener).await, accept(&listener).await);
        let tls = tls.clone();
        tasks.spawn(async move {
            let (mut one, mut other) = (one, other);
            if let Some(tls) = tls {
                let (one, other) = tokio::join!(tls.accept(one), tls.accept(other));
                if let (Ok(mut one), Ok(mut other)) = (one, other) {
                    drop(copy_bidirectional(&mut one, &mut other).await);
                }
            } else {
                drop(copy_bidirectional(&mut one, &mut other).await);
            }
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
