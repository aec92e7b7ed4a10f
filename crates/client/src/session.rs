//! Calls to an exporter.
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use hyper_util::rt::TokioIo;
use jumpstarter_protocol::{
    v1::{
        DriverCallRequest, EndSessionRequest, ExporterStatus, GetStatusRequest, LogSource, StreamingDriverCallRequest,
        exporter_service_client::ExporterServiceClient,
    },
    value,
};
use jumpstarter_tunnel::{MAX_CHUNK, Tunnel, open_with};
use tokio::sync::OnceCell;
use tonic::{
    Code, Request, Status,
    metadata::MetadataMap,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{Client, ClientError, Report, Value, Way, direct::Passphrase};

/// Limit for the first answer: dial, router and exporter together, as other clients have it.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// Limit of small calls.
const SMALL: Duration = Duration::from_secs(5);
/// Room for one call's bytes that nobody has read yet, and for all of a connection: the ratio keeps h2's budget for
/// tiny frames out of reach.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 32 * STREAM_WINDOW;
/// Larger frames cost less per byte. One of them with its header fits into one message of the tunnel.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB fit")]
const FRAME: u32 = MAX_CHUNK as u32 - 48;

/// A byte stream to a driver: write, shut down, and read until the end.
pub type ByteStream = Tunnel;

/// A connection to the session of an exporter. Cheap to clone; lost connections are dialled again by the next call.
#[derive(Clone)]
pub struct Session {
    channel: Channel,
    passphrase: Passphrase,
    report: Arc<OnceCell<Report>>,
    /// The way of the last connection.
    way: Arc<Mutex<Option<Way>>>,
}

/// What the exporter says it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterState {
    /// The status; [`ExporterStatus::Unspecified`] when it has a value unknown here.
    pub status: ExporterStatus,
    /// More about it.
    pub message: String,
    /// Grows by one with each change.
    pub version: u64,
}

/// A line of the exporter's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
    pub severity: String,
    /// The text.
    pub message: String,
    /// Where it comes from.
    pub source: LogSource,
    /// Driver class, where told.
    pub driver: Option<String>,
}

impl Client {
    /// Opens a session with the exporter of `lease`, which must be ready.
    pub async fn session(&self, lease: &str) -> Result<Session, ClientError> {
        let way: Arc<Mutex<Option<Way>>> = Arc::default();
        let told = Arc::clone(&way);
        // The transport wraps what a connector returns; the reason is kept beside it, to be told as it is.
        let reason: Arc<Mutex<Option<ClientError>>> = Arc::default();
        let (client, lease, slot) = (self.clone(), lease.to_owned(), Arc::clone(&reason));
        let connect = service_fn(move |_| {
            let (client, lease, slot, told) = (client.clone(), lease.clone(), Arc::clone(&slot), Arc::clone(&told));
            async move {
                match client.line(&lease).await {
                    Ok(line) => {
                        *told.lock().expect("no code panics while it holds the slot") = Some(line.way().clone());
                        Ok(TokioIo::new(line))
                    }
                    Err(err) => {
                        let text = err.to_string();
                        *slot.lock().expect("no code panics while it holds the slot") = Some(err);
                        Err(std::io::Error::other(text))
                    }
                }
            }
        });
        match endpoint().connect_with_connector(connect).await {
            Ok(channel) => Ok(Session { way, ..Session::over(channel) }),
            Err(err) => {
                let told = reason.lock().expect("no code panics while it holds the slot").take();
                Err(told.unwrap_or_else(|| unreachable("the exporter", err)))
            }
        }
    }
}

impl Session {
    /// A session over a channel that leads to an exporter.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self { channel, passphrase: Passphrase::default(), report: Arc::default(), way: Arc::default() }
    }

    /// A session with the exporter behind a Unix socket, such as `JUMPSTARTER_HOST`.
    pub async fn unix(path: &Path) -> Result<Self, ClientError> {
        let (path, name) = (path.to_owned(), path.display().to_string());
        let connect = service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint().connect_with_connector(connect).await;
        channel.map(Self::over).map_err(|err| unreachable(&name, err))
    }

    /// How the exporter of a lease was reached last. None for sessions that do without a service.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        self.way.lock().expect("no code panics while it holds the slot").clone()
    }

    /// The same session, with `passphrase` added to every call.
    pub(crate) fn with_passphrase(self, passphrase: Passphrase) -> Self {
        Self { passphrase, ..self }
    }

    fn exporter(&self) -> ExporterServiceClient<InterceptedService<Channel, Passphrase>> {
        ExporterServiceClient::with_interceptor(self.channel.clone(), self.passphrase.clone())
    }

    /// The driver tree, fetched once.
    pub async fn report(&self) -> Result<&Report, ClientError> {
        let fetch = || async {
            let mut request = Request::new(());
            request.set_timeout(FIRST_ANSWER);
            let answer = self.exporter().get_report(request).await.map_err(|status| failed("GetReport", status))?;
            Ok(Report::from_proto(answer.into_inner()))
        };
        self.report.get_or_try_init(fetch).await
    }

    /// The greeting for interactive shells, asked for anew: hooks add to it before a lease is handed out.
    pub async fn motd(&self) -> Result<String, ClientError> {
        let mut request = Request::new(());
        request.set_timeout(SMALL);
        let answer = self.exporter().get_report(request).await.map_err(|status| failed("GetReport", status))?;
        Ok(answer.into_inner().motd)
    }

    pub(crate) async fn uuid(&self, path: &str) -> Result<String, ClientError> {
        let report = self.report().await?;
        match report.driver(path) {
            Some(driver) => Ok(driver.uuid.clone()),
            None => {
                let known: Vec<_> = report.drivers.iter().map(|d| d.path.as_str()).filter(|p| !p.is_empty()).collect();
                Err(ClientError::NoDriver { path: path.to_owned(), known: known.join(", ") })
            }
        }
    }

    /// Calls `method` of the driver at the dotted path `driver`. The driver decides how long it takes.
    pub async fn call(&self, driver: &str, method: &str, args: &[Value]) -> Result<Value, ClientError> {
        let uuid = self.uuid(driver).await?;
        let args = args.iter().map(value::from_json).collect();
        let request = DriverCallRequest { uuid, method: method.to_owned(), args };
        let answer = self.exporter().driver_call(request).await;
        let answer = answer.map_err(|status| failed(&format!("DriverCall '{method}' of '{driver}'"), status))?;
        Ok(answer.into_inner().result.as_ref().map_or(Value::Null, value::to_json))
    }

    /// Calls a `method` that answers with a stream of values.
    pub async fn stream_call(
        &self,
        driver: &str,
        method: &str,
        args: &[Value],
    ) -> Result<BoxStream<'static, Result<Value, ClientError>>, ClientError> {
        let uuid = self.uuid(driver).await?;
        let args = args.iter().map(value::from_json).collect();
        let request = StreamingDriverCallRequest { uuid, method: method.to_owned(), args };
        let call = format!("StreamingDriverCall '{method}' of '{driver}'");
        let answer = self.exporter().streaming_driver_call(request).await;
        let answers = answer.map_err(|status| failed(&call, status))?.into_inner();
        let values = answers.map(move |answer| match answer {
            Ok(answer) => Ok(answer.result.as_ref().map_or(Value::Null, value::to_json)),
            Err(status) => Err(failed(&call, status)),
        });
        Ok(values.boxed())
    }

    /// Opens the byte stream `method` of a driver; most are called `connect`.
    pub async fn open(&self, driver: &str, method: &str) -> Result<ByteStream, ClientError> {
        let uuid = self.uuid(driver).await?;
        let wanted = serde_json::json!({ "kind": "driver", "uuid": uuid, "method": method });
        let opened = self.stream(&format!("Stream '{method}' of '{driver}'"), &wanted).await;
        opened.map(|(stream, _)| stream)
    }

    /// Opens the stream that `wanted` describes; `call` names it for errors.
    pub(crate) async fn stream(&self, call: &str, wanted: &Value) -> Result<(Tunnel, MetadataMap), ClientError> {
        let mut metadata = MetadataMap::new();
        let value = wanted.to_string().parse();
        let value =
            value.map_err(|_| ClientError::Protocol("the caller", format!("{call}: its name cannot be sent")))?;
        metadata.insert("request", value);
        self.passphrase.add_to(&mut metadata);
        open_with(self.channel.clone(), metadata).await.map_err(|status| failed(call, status))
    }

    /// What the exporter is doing. Exporters too old to tell count as ready.
    pub async fn status(&self) -> Result<ExporterState, ClientError> {
        let mut request = Request::new(GetStatusRequest {});
        request.set_timeout(SMALL);
        match self.exporter().get_status(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(ExporterState {
                    status: answer.status(),
                    version: answer.status_version,
                    message: answer.message.unwrap_or_default(),
                })
            }
            Err(status) if status.code() == Code::Unimplemented => {
                Ok(ExporterState { status: ExporterStatus::LeaseReady, message: String::new(), version: 0 })
            }
            Err(status) => Err(failed("GetStatus", status)),
        }
    }

    /// Ends the session, which starts the afterLease hook. True when there is something to wait for.
    pub async fn end_session(&self) -> Result<bool, ClientError> {
        let mut request = Request::new(EndSessionRequest {});
        request.set_timeout(SMALL);
        match self.exporter().end_session(request).await {
            Ok(answer) => Ok(answer.into_inner().success),
            // The way back may close before the answer is through; the exporter has heard it all the same.
            Err(status) => match status.code() {
                Code::Unimplemented => Ok(false),
                Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => Ok(true),
                _ => Err(failed("EndSession", status)),
            },
        }
    }

    /// The exporter's log, from some lines ago, for as long as the session lives.
    pub async fn logs(&self) -> Result<impl Stream<Item = Result<LogLine, ClientError>> + Send + use<>, ClientError> {
        let answer = self.exporter().log_stream(()).await.map_err(|status| failed("LogStream", status))?;
        Ok(answer.into_inner().map(|line| match line {
            Ok(line) => Ok(LogLine {
                source: line.source(),
                severity: line.severity,
                message: line.message,
                driver: line.driver_type,
            }),
            Err(status) => Err(failed("LogStream", status)),
        }))
    }
}

fn endpoint() -> Endpoint {
    // Other peers send this authority too; nothing looks it up.
    windows(Endpoint::from_static("http://localhost"))
}

fn windows(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
}

fn failed(call: &str, status: Status) -> ClientError {
    ClientError::Exporter { call: call.to_owned(), status: Box::new(status) }
}

fn unreachable(endpoint: &str, source: tonic::transport::Error) -> ClientError {
    ClientError::Connect { endpoint: endpoint.to_owned(), source: source.into() }
}
