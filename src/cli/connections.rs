//! Options of `practised serve` about connections.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use crate::http::listener::{Limits, PerPeer, connections_within};
use crate::http::{Hosts, Name};
use crate::shutdown;

/// Arguments about connections, of `practised serve`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// Accept this host name too if requests need no key, and trust the web pages of that host; can be repeated. Without it,
    /// requests must be for localhost, 127.0.0.1, `[::1]` or the address in --listen.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<Name>,
    /// Limit on connections. A new one replaces the one that has waited longest for a request; if all are in use, it gets a 503.
    #[arg(long, value_name = "N", default_value = "4096")]
    max_connections: NonZeroUsize,
    /// Limit on connections from one address (IPv6: one /64 network), or none for no limit [default: a quarter of
    /// --max-connections; none for loopback addresses, because a proxy there serves many clients].
    #[arg(long, value_name = "N")]
    max_connections_per_peer: Option<Most>,
    /// Time limit for the head of a request.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive_seconds)]
    header_timeout: f64,
    /// Time limit without a byte of a request's body; the response is then a 408.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = positive_seconds)]
    body_timeout: f64,
    /// Time limit in which a client reads nothing of a response.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = positive_seconds)]
    write_timeout: f64,
    /// Time limit between two requests on one connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 75.0, value_parser = positive_seconds)]
    keep_alive_timeout: f64,
    /// Time after SIGTERM for requests in flight, including uploads and downloads, to finish.
    #[arg(long, value_name = "SECONDS", default_value_t = shutdown::DRAIN.as_secs_f64(), value_parser = seconds)]
    drain_seconds: f64,
}

/// A number, or none.
#[derive(Debug, Clone, Copy)]
struct Most(Option<NonZeroUsize>);

impl FromStr for Most {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("none", _) => Ok(Self(None)),
            (_, Ok(most)) => Ok(Self(Some(most))),
            _ => Err("write a whole number above 0, or none".to_owned()),
        }
    }
}

impl ConnectionArgs {
    /// The limits, as far as this many open files allow.
    pub(super) fn limits(&self, open_files: u64) -> Limits {
        let (wanted, possible) = (self.max_connections.get(), connections_within(open_files));
        if wanted > possible {
            tracing::warn!(
                "at most {possible} connections instead of {wanted}: this process may open {open_files} files (ulimit -n)"
            );
        }
        let per_peer = match self.max_connections_per_peer {
            None => PerPeer::Usual,
            Some(Most(most)) => most.map_or(PerPeer::Unlimited, |most| PerPeer::AtMost(most.get())),
        };
        Limits {
            connections: wanted.min(possible),
            per_peer,
            head: Duration::from_secs_f64(self.header_timeout),
            body: Duration::from_secs_f64(self.body_timeout),
            write: Duration::from_secs_f64(self.write_timeout),
            idle: Duration::from_secs_f64(self.keep_alive_timeout),
            drain: Duration::from_secs_f64(self.drain_seconds),
        }
    }

    /// The names that requests without a key may use.
    pub(super) fn hosts(&self, listen: IpAddr) -> Hosts {
        Hosts::new(listen, &self.allow_hosts)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "write seconds from 0 to 86400".to_owned())
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    // A limit of 0 s would refuse every client.
    seconds(text).ok().filter(|seconds| *seconds >= 0.001).ok_or_else(|| "write seconds from 0.001 to 86400".to_owned())
}
