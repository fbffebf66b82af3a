//! The HTTP side: headers, framing, limits, and what bad clients get.

use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use partita_gateway::http::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Server, read, request};
use crate::fake::{PANICS, WAITS};

const UNKNOWN: &str = "{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"}";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn answers_have_dynamodbs_headers() {
    let server = Server::start().await;
    let answer = server.call("ListTables", &json!({})).await;
    assert_eq!((answer.status, answer.text()), (200, "{\"TableNames\":[]}"));
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
    assert_eq!(answer.header("server"), Some("Server"));
    assert_eq!(answer.header("x-amzn-requestid").unwrap().len(), 52);
    let checksum = crc32fast::hash(&answer.body).to_string();
    assert_eq!(answer.header("x-amz-crc32"), Some(checksum.as_str()));
    assert!(answer.header("date").is_some());
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn what_is_no_call_gets_dynamodbs_answers() {
    let server = Server::start().await;
    let get = server.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        (get.status, get.text()),
        (200, "healthy: dynamodb.us-east-1.amazonaws.com ")
    );
    for head in [
        "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let answer = server.raw(head.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.text()),
            (404, "<UnknownOperationException/>\n"),
            "{head}"
        );
    }
    for operation in ["Nothing", "TransactWriteItem", ""] {
        let answer = server.call(operation, &json!({})).await;
        assert_eq!((answer.status, answer.text()), (400, UNKNOWN), "{operation}");
    }
    for operation in ["TransactWriteItems", "ExecuteStatement", "CreateBackup"] {
        let expected = (
            "UnknownOperationException".into(),
            format!("Partita does not have {operation} yet"),
        );
        assert_eq!(server.failed(operation, &json!({})).await, expected);
    }
    let json = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; charset=utf-8\r\nX-Amz-Target: \
                DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\r\n{}";
    let answer = server.raw(json.as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.text(),
        "{\"__type\":\"com.amazon.coral.service#MissingAuthenticationTokenException\",\"message\":\"Request is missing \
         Authentication Token\"}"
    );
}

#[tokio::test]
async fn browsers_are_let_in() {
    let server = Server::start().await;
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: http://x\r\nAccess-Control-Request-Headers: \
                     x-amz-target\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let answer = server.raw(preflight.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "x-amz-target"),
        ("access-control-allow-methods", "POST"),
        ("access-control-max-age", "172800"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let answer = server
        .raw(&request("ListTables", b"{}", &[("Origin", "http://x")]))
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(
        answer
            .header("access-control-expose-headers")
            .unwrap()
            .contains("x-amz-crc32")
    );
}

#[tokio::test]
async fn bodies_may_be_compressed_both_ways() {
    let server = Server::start().await;
    let body = gzip(b"{\"Limit\":100}");
    let answer = server
        .raw(&request("ListTables", &body, &[("Content-Encoding", "gzip")]))
        .await;
    assert_eq!((answer.status, answer.text()), (200, "{\"TableNames\":[]}"));
    let answer = server
        .raw(&request(
            "ListTables",
            &deflate(b"{\"Limit\":100}"),
            &[("Content-Encoding", "deflate")],
        ))
        .await;
    assert_eq!((answer.status, answer.text()), (200, "{\"TableNames\":[]}"));

    for number in 0..100 {
        let table = json!({
            "TableName": format!("table-with-a-name-that-fills-the-page-{number:03}"),
            "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        });
        server.done("CreateTable", &table).await;
    }
    let answer = server
        .raw(&request(
            "ListTables",
            b"{}",
            &[("Accept-Encoding", "deflate, gzip;q=0.5")],
        ))
        .await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(
        answer.header("x-amz-crc32"),
        Some(crc32fast::hash(&answer.body).to_string().as_str())
    );
    let mut inflated = String::new();
    GzDecoder::new(&*answer.body).read_to_string(&mut inflated).unwrap();
    assert!(inflated.contains("fills-the-page-099"));
    for refusing in ["identity", "gzip;q=0", ""] {
        let answer = server
            .raw(&request("ListTables", b"{}", &[("Accept-Encoding", refusing)]))
            .await;
        assert_eq!(answer.header("content-encoding"), None, "{refusing}");
    }
}

#[tokio::test]
async fn bodies_beyond_the_limits_are_refused() {
    let limits = Limits {
        body_bytes_max: 100_000,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let large = vec![b' '; 100_001];
    let answer = server.raw(&request("ListTables", &large, &[])).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("RequestEntityTooLargeException"));

    let bomb = gzip(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    let answer = server
        .raw(&request("ListTables", &bomb, &[("Content-Encoding", "gzip")]))
        .await;
    assert_eq!(answer.status, 413);
    let bomb = deflate(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    let answer = server
        .raw(&request("ListTables", &bomb, &[("Content-Encoding", "deflate")]))
        .await;
    assert_eq!(answer.status, 413);
    for coding in ["gzip", "deflate"] {
        let answer = server
            .raw(&request(
                "ListTables",
                b"not compressed",
                &[("Content-Encoding", coding)],
            ))
            .await;
        assert_eq!(answer.status, 400);
    }

    // Without a length, too.
    let mut connection = server.connect().await;
    let head = String::from_utf8(request("ListTables", b"", &[])).unwrap();
    let head = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    connection.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..101 {
        connection.write_all(b"3e8\r\n").await.unwrap();
        connection.write_all(&[b' '; 1000]).await.unwrap();
        connection.write_all(b"\r\n").await.unwrap();
    }
    connection.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut connection).await.unwrap().status, 413);

    let fitting = vec![b' '; 99_998];
    let answer = server
        .raw(&request("ListTables", &[b"{}", &*fitting].concat(), &[]))
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn slow_and_broken_requests_end() {
    let limits = Limits {
        head_time_max: Duration::from_millis(200),
        body_time_max: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    // Half a body, and nothing more.
    let whole = request("ListTables", b"{\"Limit\":1}", &[]);
    let mut connection = server.connect().await;
    connection.write_all(&whole[..whole.len() - 4]).await.unwrap();
    assert_eq!(read(&mut connection).await.unwrap().status, 408);
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0);
    // Half a head, and nothing at all.
    for sent in [&whole[..40], b""] {
        let mut connection = server.connect().await;
        connection.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
    // Not HTTP, and a head that is too large.
    let long = format!("POST / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100_000));
    for sent in [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".as_slice(), long.as_bytes()] {
        let mut connection = server.connect().await;
        // The server may be gone before all of it is sent.
        let _ = connection.write_all(sent).await;
        let mut rest = Vec::new();
        let _ = connection.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    }
    // A client that leaves in the middle of its body.
    let mut connection = server.connect().await;
    connection.write_all(&whole[..whole.len() - 4]).await.unwrap();
    drop(connection);
    // Others do not notice any of it.
    server.done("ListTables", &json!({})).await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let server = Server::start().await;
    for body in [
        b"".as_slice(),
        b"not JSON",
        b"[]",
        b"\"text\"",
        b"{\"Limit\":",
        b"{\"ExclusiveStartTableName\":\"\xff\xfe\"}",
        b"{\"Limit\":\"1\"}",
    ] {
        let answer = server.raw(&request("ListTables", body, &[])).await;
        assert_eq!(answer.status, 400, "{body:?}");
        assert!(
            answer
                .text()
                .starts_with("{\"__type\":\"com.amazon.coral.service#SerializationException\"")
        );
    }
    let deep = [&*b"{\"Unknown\":".repeat(10_000), b"1", &*b"}".repeat(10_000)].concat();
    let answer = server.raw(&request("ListTables", &deep, &[])).await;
    assert!(answer.status == 200 || answer.status == 400);
    let unknown = server.call("ListTables", &json!({"Unknown": [{"a": 1}]})).await;
    assert_eq!(unknown.status, 200);
}

#[tokio::test]
async fn connections_are_kept_and_requests_may_be_pipelined() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let three = request("ListTables", b"{}", &[]).repeat(3);
    connection.write_all(&three).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = read(&mut connection).await.unwrap();
        assert_eq!(answer.status, 200);
        ids.push(answer.header("x-amzn-requestid").unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_panic_is_one_clients_error() {
    let server = Server::start().await;
    let answer = server.call("DescribeTable", &json!({"TableName": PANICS})).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("InternalServerError"));
    server.done("ListTables", &json!({})).await;
    let families = server.registry.gather();
    let count = |name: &str| {
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value())
            .sum::<f64>()
    };
    assert_eq!(
        (count("partita_panics_total"), count("partita_system_errors_total")),
        (1.0, 1.0)
    );
    assert_eq!(count("partita_requests_total"), 2.0);
}

#[tokio::test]
async fn stopping_lets_open_requests_finish() {
    let mut server = Server::start().await;
    let table = json!({
        "TableName": WAITS,
        "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    });
    server.done("CreateTable", &table).await;
    let idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(&request("DescribeTable", b"{\"TableName\":\"waits\"}", &[]))
        .await
        .unwrap();
    // Once this is answered, the request before it on the other connection may still be on its way: the running
    // requests tell.
    while running(&server) < 1.0 {
        tokio::task::yield_now().await;
    }
    server.begin_stop();
    server.backend.release();
    let answer = read(&mut busy).await.unwrap();
    assert_eq!(answer.status, 200);
    drop(idle);
    server.stopped().await;
}

fn running(server: &Server) -> f64 {
    let families = server.registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "partita_requests_running")
        .unwrap();
    family.get_metric()[0].get_gauge().get_value()
}

#[tokio::test]
async fn many_idle_connections_do_not_keep_others_out() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    // As many as the usual limit on open files allows for both ends in one process.
    for _ in 0..400 {
        idle.push(server.connect().await);
    }
    server.done("ListTables", &json!({})).await;
}
