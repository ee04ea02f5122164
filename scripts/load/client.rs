//! Asks an HTTP server for paths in a closed loop: each connection sends its next request when it has the answer to the last one.
//!
//!     rustc -O client.rs && ./client HOST:PORT CONNECTIONS SECONDS < paths
//!
//! Prints requests per second and the median and 99th percentile in milliseconds. One thread and epoll, as pgbench has it, so that
//! the client takes little of the machine that it shares with the server. Needs nothing but the standard library.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    data: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(epoll: i32, operation: i32, fd: i32, event: *mut Event) -> i32;
    fn epoll_wait(epoll: i32, events: *mut Event, most: i32, timeout: i32) -> i32;
}

const ADD: i32 = 1;
const READABLE: u32 = 1;

struct Connection {
    stream: TcpStream,
    sent: Instant,
    answer: Vec<u8>,
}

impl Connection {
    fn ask(&mut self, host: &str, path: &str) {
        self.answer.clear();
        self.sent = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("a request of one packet is sent");
    }

    /// True once the answer is whole.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        let Some(head) = self.answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
        let text = std::str::from_utf8(&self.answer[..head]).expect("a head is text");
        assert!(text.starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.answer));
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        self.answer.len() >= head + 4 + length.expect("answers have a length")
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, host, connections, seconds] = arguments.as_slice() else { panic!("HOST:PORT CONNECTIONS SECONDS") };
    let paths: Vec<String> = std::io::stdin().lock().lines().map(|line| line.expect("paths are text")).collect();
    let mut next = (0..).map(|index| &paths[(index * 7919) % paths.len()]);
    let epoll = unsafe { epoll_create1(0) };
    let mut open: Vec<Connection> = Vec::new();
    for index in 0..connections.parse::<u64>().expect("a number") {
        let stream = TcpStream::connect(host).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_nonblocking(true).expect("a socket option");
        let mut event = Event { events: READABLE, data: index };
        assert_eq!(unsafe { epoll_ctl(epoll, ADD, stream.as_raw_fd(), &mut event) }, 0);
        open.push(Connection { stream, sent: Instant::now(), answer: Vec::new() });
    }
    for connection in &mut open {
        connection.ask(host, next.next().expect("endless"));
    }
    let (began, seconds) = (Instant::now(), seconds.parse::<f64>().expect("a number"));
    let warm = Duration::from_secs_f64(seconds * 0.1);
    let mut latencies: Vec<f64> = Vec::new();
    let (mut events, mut buffer) = ([Event { events: 0, data: 0 }; 256], vec![0; 1 << 16]);
    while began.elapsed().as_secs_f64() < seconds {
        let count = unsafe { epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, 1000) };
        for event in &events[..count.max(0) as usize] {
            let connection = &mut open[{ event.data } as usize];
            if connection.read(&mut buffer) {
                if began.elapsed() > warm {
                    latencies.push(connection.sent.elapsed().as_secs_f64() * 1e3);
                }
                connection.ask(host, next.next().expect("endless"));
            }
        }
    }
    let spent = (began.elapsed() - warm).as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("{:.0} {:.3} {:.3}", latencies.len() as f64 / spent, at(0.5), at(0.99));
}
