//! A request as a gRPC client makes it.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// Builds a request.
#[derive(Debug, Clone)]
pub struct Call {
    http_method: Method,
    authority: String,
    path: String,
    /// `te` and `content-type`, until a case takes them away.
    fixed: HeaderMap,
    headers: Vec<(String, Vec<u8>)>,
}

impl Call {
    /// A call of this path, "/package.Service/Method".
    pub fn new(path: impl Into<String>) -> Self {
        let mut fixed = HeaderMap::new();
        fixed.insert("te", HeaderValue::from_static("trailers"));
        fixed.insert("content-type", HeaderValue::from_static("application/grpc"));
        Self {
            http_method: Method::POST,
            authority: "conformance.test".to_owned(),
            path: path.into(),
            fixed,
            headers: Vec::new(),
        }
    }

    /// Another HTTP method than POST.
    pub fn http_method(mut self, method: Method) -> Self {
        self.http_method = method;
        self
    }

    /// The `:authority`.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = authority.into();
        self
    }

    /// Adds a header, after those that are there: repeats stay, in order.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Adds a `-bin` header: its value is base64 of these bytes, without padding.
    pub fn bin(self, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        self.header(name, STANDARD_NO_PAD.encode(bytes))
    }

    /// `grpc-timeout`, in microseconds or, where they do not fit eight digits, milliseconds or seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        let fits = |number: u128| number < 100_000_000;
        let text = if fits(timeout.as_micros()) {
            format!("{}u", timeout.as_micros())
        } else if fits(timeout.as_millis()) {
            format!("{}m", timeout.as_millis())
        } else {
            format!("{}S", timeout.as_secs().min(99_999_999))
        };
        self.header("grpc-timeout", text)
    }

    /// Leaves `te` or `content-type` out; a `header` of the same name may take its place.
    pub fn without(mut self, name: &str) -> Self {
        self.fixed.remove(name);
        self
    }

    /// Asks for the instance of this id.
    pub fn instance(self, id: &str) -> Self {
        self.header("grpcrouter-instance", id)
    }

    /// The request.
    ///
    /// # Errors
    /// Where HTTP does not allow the path or a header: those are written with `Frames`.
    pub fn build(self) -> Result<Request<()>> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(self.path.as_str())
            .build()
            .with_context(|| format!("{:?} is no path", self.path))?;
        let mut request = Request::new(());
        *request.method_mut() = self.http_method;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.fixed;
        for (name, value) in self.headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .with_context(|| format!("{name:?} is no header"))?;
            let value = HeaderValue::from_bytes(&value)
                .with_context(|| format!("{value:?} is no value of {name}"))?;
            request.headers_mut().append(key, value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_keep_their_order_and_long_timeouts_their_digits() {
        let call = Call::new("/a.B/C").header("dup", "1").header("dup", "2");
        let call = call
            .timeout(Duration::from_secs(3_600))
            .bin("x-bin", [0, 255]);
        let request = call.without("te").build().unwrap();
        let headers = request.headers();
        assert_eq!(headers.get_all("dup").iter().count(), 2);
        assert_eq!(headers["dup"], "1");
        assert_eq!(headers["grpc-timeout"], "3600000m");
        assert_eq!(headers["x-bin"], "AP8");
        assert!(!headers.contains_key("te"));
        assert!(Call::new("no path").build().is_err());
    }
}
