//! A complete request as it is passed to the application: head, buffered body, client.

use std::sync::Arc;

use lockgate_config::ClientCertificateUser;
use lockgate_http::RequestHead;
use lockgate_http::uwsgi::Packet;
use lockgate_tls::TlsInfo;

use crate::client::{Client, Local};
use crate::exchange::admitted::Admitted;
use crate::exchange::body::buffer::BodyBuffer;
use crate::exchange::body::spool::{Spool, SpoolFile};
use crate::exchange::body::stream::BodyStream;
use crate::exchange::request_id::RequestId;
use crate::transport::Transport;

/// The body of a request. Unless it is streamed, it is complete before the application is called.
#[derive(Debug, Default)]
pub enum Body {
    /// No body, or an empty one.
    #[default]
    Empty,
    /// Up to `body_memory` bytes.
    Memory(BodyBuffer),
    /// Larger bodies, in an unnamed temporary file that is positioned at its start.
    Spooled {
        /// The file; it is deleted when it is closed.
        file: SpoolFile,
        /// Bytes in the file.
        length: u64,
    },
    /// The client is still sending it (`stream_request_body`).
    Stream(BodyStream),
}

impl From<Spool> for Body {
    /// The spool is complete: see `Spool::finish`.
    fn from(spool: Spool) -> Self {
        match spool {
            Spool::Empty => Self::Empty,
            Spool::Memory(bytes) if bytes.is_empty() => Self::Empty,
            Spool::Memory(bytes) => Self::Memory(bytes),
            Spool::Disk { file, length } => Self::Spooled { file, length },
        }
    }
}

impl Body {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }

    /// Bytes in the body; `None` for a streamed body whose length the client has not announced.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::Spooled { length, .. } => Some(*length),
            Self::Stream(stream) => stream.length(),
        }
    }
}

/// One request. The boxes are reused, so in steady state nothing in here is allocated.
#[derive(Default)]
pub struct Request {
    /// Request line and headers.
    pub head: RequestHead,
    pub(crate) body: Body,
    pub(crate) has_body: bool,
    pub(crate) client: Arc<Client>,
    pub(crate) local: Arc<Local>,
    pub(crate) is_https: bool,
    /// Of a connection with TLS, where the application gets something from it; see [`Request::tls`].
    pub(crate) tls: Option<Arc<TlsInfo>>,
    /// The server makes it for a client whose response it holds.
    pub(crate) is_subrequest: bool,
    /// Of a connection of the uwsgi protocol; see [`Request::parameters`].
    pub(crate) packet: Option<Box<Packet>>,
    /// What was decided from its head.
    pub(crate) admitted: Admitted,
}

impl Request {
    /// The same request of the server itself, without a body.
    pub(crate) fn without_body(&self) -> Box<Self> {
        Box::new(Self {
            head: self.head.clone(),
            body: Body::Empty,
            has_body: false,
            client: Arc::clone(&self.client),
            local: Arc::clone(&self.local),
            is_https: self.is_https,
            tls: self.tls.clone(),
            is_subrequest: true,
            packet: self.packet.clone(),
            admitted: self.admitted.for_subrequest(),
        })
    }

    /// Takes the body; a second call returns an empty one.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// Bytes in the body; `None` when the message had no body at all (neither length nor chunks), or when the length of
    /// a streamed body is not known.
    pub fn body_length(&self) -> Option<u64> {
        self.has_body.then(|| self.body.length()).flatten()
    }

    /// The application that answers it: 0 is that of the server, the others are numbered as in `RoutesConfig::mounts`.
    pub fn mount(&self) -> u16 {
        self.admitted.mount
    }

    /// Its id, if requests have one.
    pub fn id(&self) -> Option<&str> {
        self.admitted.request_id.as_ref().map(RequestId::as_str)
    }

    /// Who has authenticated with the server.
    pub fn user(&self) -> Option<&str> {
        self.admitted.user.as_deref()
    }

    /// The client that sent it.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The listener that it arrived at.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// `http` or `https`, from the transport or a trusted proxy.
    pub fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The TLS connection that it arrived on, if the settings give the application something of it.
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        // Requests are reused, and only connections with TLS write this field.
        self.tls.as_ref().filter(|_| self.local.is_tls)
    }

    /// Variables that a web server has added to the request (`uwsgi_param`).
    pub fn parameters(&self) -> Option<impl DoubleEndedIterator<Item = (&[u8], &[u8])>> {
        // Requests are reused, and only connections of the uwsgi protocol write this field.
        let packet = self.packet.as_ref().filter(|_| self.local.is_uwsgi)?;
        Some(packet.parameters())
    }

    /// REMOTE_USER among the parameters.
    pub(crate) fn remote_user(&self) -> Option<Box<str>> {
        let mut users = self.parameters()?.rev();
        let (_, user) = users.find(|(name, _)| *name == b"REMOTE_USER")?;
        (!user.is_empty()).then(|| String::from_utf8_lossy(user).into())
    }

    /// What the transport adds to the request.
    pub(crate) fn set_transport(&mut self, transport: &dyn Transport, uses_tls_info: bool) {
        self.is_https = transport.is_encrypted();
        if self.is_https {
            self.tls = uses_tls_info.then(|| transport.tls_info()).flatten();
        }
    }

    /// The user that the client's certificate names; `None` without a certificate, or if it lacks this part.
    pub fn certificate_user(&self, part: ClientCertificateUser) -> Option<&str> {
        let peer = self.tls()?.peer()?;
        let user = match part {
            ClientCertificateUser::CommonName => peer.common_name(),
            ClientCertificateUser::Email => peer.variable("SSL_CLIENT_SAN_Email_0"),
            ClientCertificateUser::DistinguishedName => Some(peer.subject()),
        };
        user.filter(|user| !user.is_empty())
    }

    /// Most requests of a connection have the same client: comparing costs less than reference counting.
    pub(crate) fn set_client(&mut self, client: &Arc<Client>) {
        if !Arc::ptr_eq(&self.client, client) {
            self.client = Arc::clone(client);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.body = Body::Empty;
        self.has_body = false;
        self.is_subrequest = false;
        self.admitted.clear();
    }
}
