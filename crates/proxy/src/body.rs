//! Bodies on their way: the request's to the application, the response's to the client.
//!
//! Neither is buffered here. The response body carries everything the request holds (slot, measurement, time
//! limits, upstream connection), so all of it ends when the body does, however that happens.

mod request;
mod response;

pub(crate) use request::{BodyLink, ClientFault, RequestBody};
pub(crate) use response::{OpenAnswers, ResponseBody};
