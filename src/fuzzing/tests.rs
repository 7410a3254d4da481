//! Runs each target with its seeds, with mutations of them and with random bytes: the same inputs on every run.

const ROUNDS: u32 = 4_000;

/// Texts that mutations insert, because random bytes rarely contain them.
const DICTIONARY: [&[u8]; 59] = [
    b"%2e",
    b"%2E",
    b"%252e",
    b"%2F",
    b"%2f",
    b"%5C",
    b"%25",
    b"%00",
    b"%0A",
    b"%7F",
    b"%C2%85",
    b"%C0%AF",
    b"%C3%A9",
    b"%E2%84%AA",
    b"%F4%90%80%80",
    b"%ED%A0%80",
    b"%",
    b"..",
    b"/",
    b"//",
    b"\\",
    b";",
    b"#",
    b"?",
    b"&",
    b"=",
    b"+",
    b"[",
    b"]",
    b"{x}",
    b"{y:int}",
    b"{z...}",
    b"org",
    b"ORG",
    b"access_token",
    b"_method",
    b":443",
    b".",
    b"[::1]",
    b"\xff",
    b"\"",
    b"\"a\":",
    b"\\u0061",
    b"{",
    b"}",
    b",",
    b"null",
    b"-1",
    b"1e999",
    b"\"cnf\":{},",
    b"\"nbf\":1800000061,",
    b"\"crit\":[],",
    b"\"act\":{\"sub\":\"d\"},",
    b"\"cnf\":{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"},",
    b"\"d\":\"AA\",",
    b"https://",
    b"%61",
    b"/../",
    b"/./",
];

/// Parts of a signature's fields.
const SIGNED: [&[u8]; 28] = [
    b"sig=(",
    b"\"@method\"",
    b"\"@query\"",
    b"\"@query-param\";name=\"a\"",
    b"\"x-a\"",
    b"\"host\"",
    b"\"priority\"",
    b"\"cookie\"",
    b"\"content-digest\"",
    b";sf",
    b";bs",
    b";key=\"a\"",
    b";created=1",
    b";keyid=\"k\"",
    b";x=@1",
    b", b=()",
    b"sig=:AA==:",
    b", b=:",
    b"sha-256=:HASH:",
    b", sha-512=:AAAA:",
    b"\nx-a:",
    b"\nX_A: b",
    b"\npriority: a=1, b",
    b"&a=%41+",
    b"\nX~Org",
    b"\nScript_Name",
    b"\nX`Callgate'Agent",
    b"\nContent|Length",
];

/// SplitMix64: small and deterministic on every platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(4) {
            0 if at < input.len() => input[at] = self.next().to_le_bytes()[0],
            1 if at < input.len() => drop(input.drain(at..(at + 1 + self.below(4)).min(input.len()))),
            2 => input.insert(at, self.next().to_le_bytes()[0] & 0x7f),
            _ => {
                let word = self.below(DICTIONARY.len() + SIGNED.len());
                let word = DICTIONARY.iter().chain(&SIGNED).nth(word).unwrap();
                drop(input.splice(at..at, word.iter().copied()));
            }
        }
    }
}

fn drive(target: fn(&[u8]), seeds: &[&[u8]]) {
    let mut random = Random(0);
    seeds.iter().for_each(|seed| target(seed));
    for _ in 0..ROUNDS {
        let mut input = seeds[random.below(seeds.len())].to_vec();
        (0..=random.below(6)).for_each(|_| random.mutate(&mut input));
        target(&input);
        let noise: Vec<u8> = (0..random.below(48)).map(|_| random.next().to_le_bytes()[0]).collect();
        target(&noise);
    }
}

#[test]
fn headers() {
    drive(
        super::headers,
        &[b"", b"\x01\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\0", b"\x02\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0x\0\0"],
    );
}

#[test]
fn header_names() {
    drive(
        super::header_names,
        &[
            b"",
            b"x-org\nX-Org\nx~org",
            b"X-Callgate-Agent\nx!callgate!agent\nx_callgate_",
            b"SCRIPT_NAME\nscript-name\nX|HTTP|Method|Override\nx.forwarded.prefix",
            b"content_length\nContent-Length\ncontent type\nsignature^input",
        ],
    );
}

#[test]
fn path() {
    drive(
        super::path,
        &[
            b"/",
            b"/v1/users/me?x=1",
            b"/a%20b/%C3%A9/",
            b"/a;b/c%2Fd/%255C",
            b"/repos/{x}",
            b"/%7ea/b[0]/caf%c3%a9/%2e%2e%2f..%20",
        ],
    );
}

#[test]
fn query() {
    drive(
        super::query,
        &[
            b"",
            b"a=1&org=acme",
            b"org=a%20b&x-y=%2B&z",
            b"x=1;org[]=2&b",
            b"Access_Token=x&%5fmethod",
            b"a&b;+method&c",
            b"[+method",
        ],
    );
}

#[test]
fn host() {
    drive(super::host, &[b"api.example.com", b"API.example.com:443", b"[2001:db8::1]:8443", b"10.0.0.1:80", b"a_b"]);
}

#[test]
fn method() {
    drive(super::method, &[b"GET", b"CONNECT", b"M-SEARCH"]);
}

#[test]
fn template() {
    drive(super::template, &[b"/", b"/users/{id}/posts", b"/v{n:int}/{m}:run", b"/files/{p...}", b"/caf%C3%A9/"]);
}

#[test]
fn lookup() {
    drive(super::lookup, &[&[0; 32], &[3; 64], b"any bytes choose templates and then paths, most of them short"]);
}

#[test]
fn nearest() {
    drive(super::nearest, &[&[0; 32], &[3; 64], b"any bytes choose endpoints, then a host, a method and a few paths"]);
}

#[test]
fn json() {
    drive(
        super::json,
        &[
            b"{}",
            br#"{"a":1,"a":2}"#,
            br#"{"iss":"x","\u0069ss":["\ud83d\ude00",-1.5e3,{"b":null}]}"#,
            b"[[[[[[[[1]]]]]]]]",
            br#" [true , false,"\":\"\\"] "#,
        ],
    );
}

#[test]
fn json_body() {
    drive(
        super::json_body,
        &[
            b"{}",
            br#" {"a":{"k":[1,-1.5e3,0.10,"\u0041\ud83d\ude00",{"is":null}]},"b":{"a":true,"":false}} "#,
            br#"{"a":1,"\u0041":2}"#,
            br#"{"a\u0000":1,"b":{"K":9007199254740993,"x":-0}}"#,
            "{\"\u{212a}\":1,\"i\u{17f}\":[1e21,1e-7,1E+2,100,1e999],\"\u{131}\":\"\\\\\"}".as_bytes(),
            br#"[[[[[[[[1]]]]]]],[[[[[[[{}]]]]]]],"]",10000000000000000000000000000000000000001]"#,
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x/y~z","arguments":{"Amount":"99.50"}}}"#,
        ],
    );
}

#[test]
fn answers() {
    drive(
        super::answers,
        &[
            b"",
            br#"a {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hid"},{"name":"a"},{"name":"chg"}],"cacheScope":"public"}}"#,
            br#"b!{"result":{"resources":[{"uri":"a"},{"uri":"h\u0069d"},7],"prompts":null,"ttlMs":5}}"#,
            br#"b!{"result":{"resources":[{"name":"a"}],"resourceTemplates":[{"uriTemplate":"hid"}],"Resources":[]}}"#,
            br#"`!{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"tools":[{"name":"hid"}],"TOOLS":1}}}"#,
            b"c data: {\"result\":{\"tools\":[{\"name\":\"hid\"},\ndata:{\"name\":\"a\"}]}}\n\nid: 1\ndata:\n\n",
            b"c!\xef\xbb\xbfdata: {}\r\n\r\n: c\r\nevent: e\rdata: {\"result\":{\"prompts\":[]}}\r\rdata: x\n\n",
            "a!data: {\"result\":{\"x\":\"\u{2028}\u{85}\"}}\n\nData: {}\n: \u{2029}data: {}\n\ndata: [1]\n\ndata".as_bytes(),
        ],
    );
}

#[test]
fn jws() {
    drive(super::jws, &[b"e30.e30.", b"e30.e30.AA", b"eyJhIjoxfQ.e30.AAAA", b"e30.e30.e30.e30.e30", b".."]);
}

#[test]
fn dpop() {
    let header = r#"{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}}"#;
    let claims = r#"{"jti":"a","htm":"GET","htu":"https://api.example.com/a/b%2Fc","iat":1800000000,"ath":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}"#;
    let good = format!("{header}\n{claims}");
    let spelt = good.replace("https://api.example.com/a/b%2Fc", "HTTPS://api%2eExample.com:443/x/../%61/./b%2fc?d#e");
    drive(super::dpop, &[good.as_bytes(), spelt.as_bytes()]);
}

#[test]
fn signature_input() {
    drive(
        super::signature_input,
        &[
            b"",
            b"sig=();created=1;expires=2;nonce=\"n\";alg=\"a\";keyid=\"k\";tag=\"t\";x;y=?0",
            b"sig1=(\"@method\" \"@query-param\";name=\"a\" \"x-a\";sf \"x-a\";key=\"b\" \"x-a\";bs);created=1, b=(\"date\")",
            b"a=(\"\\\\\"), b=(  \"x\"   \"y\" )",
            b"a=(1 b \"c\";d=:AA==:);e=1.5",
        ],
    );
}

#[test]
fn signature() {
    drive(super::signature, &[b"", b"sig=:AAAA:", b"a=:AQ==:;x=1 , b=::", b"a=(), b=1, c", b"a=:AA==:, a=:AQ==:"]);
}

#[test]
fn content_digest() {
    drive(
        super::content_digest,
        &[
            b"sha-256=:HASH:\nbody",
            b"sha-256=:HASH:, md5=:AAAA:, sha-512=:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==:",
            b"sha-256=:HASH:\n0123456789012345678901234567890123456789012345678901234567890123",
            b"md5=:AAAA:\n",
        ],
    );
}

#[test]
fn signature_base() {
    drive(
        super::signature_base,
        &[
            b"\"@method\" \"@target-uri\" \"@path\" \"@query\" \"@request-target\" \"@scheme\" \"@authority\"\n/a?b=c",
            b"\"x-a\" \"x-a\";bs \"date\" \"host\" \"host\";bs\n/\nX-A:  a b \nx-a:\nDate: c\nHost: other",
            b"\"priority\";sf \"priority\";key=\"u\" \"priority\" \"client-cert\";sf\n/\npriority: u=1 , i\nclient-cert: :AAAA:",
            b"\"@query-param\";name=\"a\" \"@query-param\";name=\"b%20c\"\n/?a=%41+b&b+c=%2b",
            b"\"signature-agent\";key=\"sig\" \"signature-agent\";sf\n\nsignature-agent: sig=\"https://a\";x\nsignature-agent: b=()",
        ],
    );
}

#[test]
fn token() {
    let header = r#"{"typ":"at+jwt","alg":"HS256"}"#;
    let claims = r#"{"iss":"https://idp.example.com","aud":"https://api.example.com","sub":"a","client_id":"b","jti":"c","iat":1800000000,"exp":1800000300,"scope":"a b"}"#;
    let good = format!("{header}\n{claims}");
    let listed = good.replace("\"https://api.example.com\"", "[\"x\",\"https://api.example.com\"]");
    let timed = good.replace("\"jti\"", "\"nbf\":1800000000.5,\"jti\"");
    let chained = good.replace("\"jti\"", "\"act\":{\"sub\":\"d\",\"act\":{\"iss\":\"e\",\"sub\":\"a\"}},\"jti\"");
    drive(super::token, &[good.as_bytes(), listed.as_bytes(), timed.as_bytes(), chained.as_bytes()]);
}
