//! One instance in the child, as a driver of the exporter.
use std::{collections::BTreeMap, io, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jumpstarter_drivers::{ByteStream, Driver, DriverError, HostedResource, Value, ValueStream};
use jumpstarter_protocol::{
    v1::{DriverCallRequest, StreamingDriverCallRequest, exporter_service_client::ExporterServiceClient},
    value,
};
use jumpstarter_tunnel::open_with;
use serde_json::json;
use tonic::{Status, metadata::MetadataMap, transport::Channel};
use uuid::Uuid;

use crate::child::Child;

/// What the child tells the opener of a client file.
const RESOURCE_KEYS: [&str; 2] = ["resource", "x_jmp_accept_encoding"];

/// The way to one session's instances.
pub(crate) struct Link {
    pub(crate) channel: Channel,
    pub(crate) child: Arc<Child>,
}

impl Link {
    /// What the child answered, or that it is gone.
    fn error(&self, path: &str, status: &Status) -> DriverError {
        match self.child.ended() {
            Some(why) => DriverError::Connection {
                message: format!("driver '{path}': {why}; the next session starts a new one"),
                source: io::Error::from(io::ErrorKind::BrokenPipe),
            },
            None => DriverError::Remote { code: status.code().into(), message: status.message().to_owned() },
        }
    }
}

/// Forwards to an instance in the child.
pub(crate) struct HostedDriver {
    uuid: Uuid,
    client: String,
    labels: BTreeMap<String, String>,
    path: String,
    link: Arc<Link>,
}

impl HostedDriver {
    pub(crate) fn new(
        uuid: Uuid,
        client: String,
        labels: BTreeMap<String, String>,
        path: String,
        link: Arc<Link>,
    ) -> Self {
        Self { uuid, client, labels, path, link }
    }

    async fn stream(&self, request: &serde_json::Value) -> Result<(MetadataMap, ByteStream), DriverError> {
        let request = request.to_string().parse();
        let request = request.map_err(|_| DriverError::InvalidArgument("the method name is not ASCII".to_owned()))?;
        let mut metadata = MetadataMap::new();
        metadata.insert("request", request);
        let opened = open_with(self.link.channel.clone(), metadata).await;
        let (tunnel, answer) = opened.map_err(|status| self.link.error(&self.path, &status))?;
        Ok((answer, Box::new(tunnel)))
    }
}

impl Driver for HostedDriver {
    fn client(&self) -> &str {
        &self.client
    }

    fn extra_labels(&self) -> BTreeMap<String, String> {
        self.labels.clone()
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let request = DriverCallRequest {
                uuid: self.uuid.to_string(),
                method: method.to_owned(),
                args: args.iter().map(value::from_json).collect(),
            };
            let answer = ExporterServiceClient::new(self.link.channel.clone()).driver_call(request).await;
            let answer = answer.map_err(|status| self.link.error(&self.path, &status))?.into_inner();
            Ok(answer.result.as_ref().map_or(Value::Null, value::to_json))
        }
        .boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            let request = StreamingDriverCallRequest {
                uuid: self.uuid.to_string(),
                method: method.to_owned(),
                args: args.iter().map(value::from_json).collect(),
            };
            let answer = ExporterServiceClient::new(self.link.channel.clone()).streaming_driver_call(request).await;
            let values = answer.map_err(|status| self.link.error(&self.path, &status))?.into_inner();
            let (link, path) = (Arc::clone(&self.link), self.path.clone());
            let values = values.map(move |value| match value {
                Ok(value) => Ok(value.result.as_ref().map_or(Value::Null, value::to_json)),
                Err(status) => Err(link.error(&path, &status)),
            });
            Ok(values.boxed())
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            let request = json!({"kind": "driver", "uuid": self.uuid, "method": method});
            Ok(self.stream(&request).await?.1)
        }
        .boxed()
    }

    fn open_resource<'a>(
        &'a self,
        encoding: Option<&'a str>,
    ) -> BoxFuture<'a, Option<Result<HostedResource, DriverError>>> {
        async move {
            let request = json!({"kind": "resource", "uuid": self.uuid, "x_jmp_content_encoding": encoding});
            let opened = self.stream(&request).await;
            Some(opened.map(|(answer, stream)| {
                let told = |key: &str| Some((key.to_owned(), answer.get(key)?.to_str().ok()?.to_owned()));
                HostedResource { metadata: RESOURCE_KEYS.into_iter().filter_map(told).collect(), stream }
            }))
        }
        .boxed()
    }
}
