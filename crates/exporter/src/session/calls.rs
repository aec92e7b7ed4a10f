//! `ExporterService`: reports, driver calls, status and logs.
use futures::{StreamExt as _, stream::BoxStream};
use jumpstarter_drivers::{Driver, DriverError};
use jumpstarter_protocol::{
    v1::{
        DriverCallRequest, DriverCallResponse, EndSessionRequest, EndSessionResponse, GetReportResponse,
        GetStatusRequest, GetStatusResponse, LogStreamResponse, ResetRequest, ResetResponse,
        StreamingDriverCallRequest, StreamingDriverCallResponse, exporter_service_server::ExporterService,
    },
    value,
};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::Session;

/// Longest text put into a status: Python peers lose headers beyond 8 KiB, and percent-encoding triples a byte.
const MAX_DETAILS: usize = 2048;

#[tonic::async_trait]
impl ExporterService for Session {
    async fn get_report(&self, _request: Request<()>) -> Result<Response<GetReportResponse>, Status> {
        let info = &self.inner.info;
        Ok(Response::new(GetReportResponse {
            uuid: info.uuid.to_string(),
            labels: info.labels.clone(),
            reports: self.reports(),
            alternative_endpoints: Vec::new(),
            motd: self.inner.motd.lock().expect("no code panics while it holds the greeting").clone(),
        }))
    }

    async fn driver_call(&self, request: Request<DriverCallRequest>) -> Result<Response<DriverCallResponse>, Status> {
        let DriverCallRequest { uuid, method, args } = request.into_inner();
        self.admit().await?;
        let driver = self.driver(&uuid)?;
        let args = args.iter().map(value::to_json).collect();
        let result = driver.call(&method, args).await.map_err(|err| driver_status(&err))?;
        Ok(Response::new(DriverCallResponse { uuid: fresh(), result: Some(value::from_json(&result)) }))
    }

    type StreamingDriverCallStream = BoxStream<'static, Result<StreamingDriverCallResponse, Status>>;

    async fn streaming_driver_call(
        &self,
        request: Request<StreamingDriverCallRequest>,
    ) -> Result<Response<Self::StreamingDriverCallStream>, Status> {
        let StreamingDriverCallRequest { uuid, method, args } = request.into_inner();
        self.admit().await?;
        let driver = self.driver(&uuid)?;
        let args = args.iter().map(value::to_json).collect();
        let values = driver.stream_call(&method, args).await.map_err(|err| driver_status(&err))?;
        let answers = values.map(|value| match value {
            Ok(value) => Ok(StreamingDriverCallResponse { uuid: fresh(), result: Some(value::from_json(&value)) }),
            Err(err) => Err(driver_status(&err)),
        });
        Ok(Response::new(answers.take_until(self.inner.closing.clone().cancelled_owned()).boxed()))
    }

    type LogStreamStream = BoxStream<'static, Result<LogStreamResponse, Status>>;

    async fn log_stream(&self, _request: Request<()>) -> Result<Response<Self::LogStreamStream>, Status> {
        let lines = self.inner.logs.read().map(Ok);
        Ok(Response::new(lines.take_until(self.inner.closing.clone().cancelled_owned()).boxed()))
    }

    async fn reset(&self, _request: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented("Reset is not offered: end the lease to bring the devices to their default state"))
    }

    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.inner.status.borrow().clone()))
    }

    async fn end_session(&self, _request: Request<EndSessionRequest>) -> Result<Response<EndSessionResponse>, Status> {
        let (success, message) = if self.inner.info.leased {
            // What follows is the exporter's business; the client sees it in the status.
            self.inner.ended.cancel();
            (true, "Session end triggered, afterLease hook running asynchronously")
        } else {
            (false, "No active lease context")
        };
        Ok(Response::new(EndSessionResponse { success, message: Some(message.to_owned()) }))
    }
}

impl Session {
    pub(super) fn driver(&self, uuid: &str) -> Result<&Arc<dyn Driver>, Status> {
        let id: Uuid = uuid
            .parse()
            .map_err(|_| Status::invalid_argument(short(&format!("'{uuid}' is not the UUID of a driver instance"))))?;
        self.inner.tree.get(&id).ok_or_else(|| {
            Status::not_found(format!("driver instance {id} does not exist in this session; fetch the report again"))
        })
    }
}

/// The one place where a driver's error becomes a gRPC status.
pub(super) fn driver_status(err: &DriverError) -> Status {
    let text = short(&err.to_string());
    match err {
        DriverError::MethodNotFound(_) => Status::not_found(text),
        DriverError::Unimplemented(_) => Status::unimplemented(text),
        DriverError::InvalidArgument(_) => Status::invalid_argument(text),
        DriverError::Timeout(_) => Status::deadline_exceeded(text),
        DriverError::Connection { .. } => Status::unavailable(text),
        DriverError::Io { .. } | DriverError::Internal(_) => Status::internal(text),
        DriverError::TooLarge(_) => Status::resource_exhausted(text),
        DriverError::Remote { code, .. } => Status::new(Code::from_i32(*code), text),
        DriverError::Other(_) => Status::unknown(text),
    }
}

fn short(text: &str) -> String {
    if text.len() <= MAX_DETAILS {
        return text.to_owned();
    }
    let end = (0..=MAX_DETAILS).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", &text[..end])
}

fn fresh() -> String {
    Uuid::new_v4().to_string()
}
