import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOCore
import SystemPackage
import TestSupport
import Testing

@testable import LanfsServer

@Suite("Who may use a server") struct AdmissionTests {
    @Test("with no list any volume of the network may come")
    func anyVolume() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        _ = try await TestClient.open(server)
        _ = try await TestClient.open(server)
        await server.stop()
    }

    @Test("with a list only listed volumes may come, and what waits behind a refused open is refused as well")
    func listed() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder) { $0.allow = [ServerConfiguration.Allowance(volume: key.id)] }
        let client = try await TestClient.open(server, key: key)
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))

        let stranger = try await TestClient(port: server.port)
        let proof = stranger.key.signingKey.sign(sessionProof(handshakeHash: stranger.connection.handshakeHash))
        let open = stranger.send(.open(volume: stranger.key.id, proof: proof))
        let flush = stranger.send(.flush(expecting: []))
        #expect(try await open.response().reason == .notAdmitted)
        #expect(try await flush.response().reason == .notAdmitted)
        #expect(try await stranger.ask(.list(after: nil)).reason == .notAdmitted)
        await server.stop()
    }

    @Test("an open without the right proof is refused")
    func badProof() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let key = VolumeKey.generate()
        let one = try await TestClient(port: server.port, key: key)
        let other = try await TestClient(port: server.port, key: key)
        // A proof made for another connection, as one who replays it would have.
        let stolen = key.signingKey.sign(sessionProof(handshakeHash: other.connection.handshakeHash))
        #expect(try await one.ask(.open(volume: key.id, proof: stolen)).reason == .badProof)
        for proof in [[], [0], [UInt8](repeating: 0, count: 64)] {
            let client = try await TestClient(port: server.port, key: key)
            #expect(try await client.ask(.open(volume: key.id, proof: proof)).reason == .badProof)
        }
        await server.stop()
    }

    @Test("before open only status is answered, and open only once")
    func beforeOpen() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient(port: server.port)
        var random = SplitMix64(seed: 1)
        #expect(try await client.put(TestBlock(10, &random)).reason == .invalid)
        #expect(try await client.ask(.flush(expecting: [])).reason == .invalid)
        #expect(try await client.ask(.list(after: nil)).reason == .invalid)
        #expect(try await client.ask(.get(block: .zero, offset: 0, length: 1)).reason == .invalid)
        let status = try await client.status()
        #expect(status.capacity > 0)
        #expect(status.usedByVolume == 0 && status.blocks == 0)
        #expect(try await client.open() == .done)
        #expect(try await client.open().reason == .invalid)
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        await server.stop()
    }

    @Test("a connection that opens no volume, or is refused one, has to leave; others stay")
    func openLimit() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder) {
            $0.openLimit = .milliseconds(500)
            $0.allow = [ServerConfiguration.Allowance(volume: key.id)]
        }
        let client = try await TestClient.open(server, key: key)
        let silent = try await TestClient(port: server.port)
        let curious = try await TestClient(port: server.port)
        let refused = try await TestClient(port: server.port)
        #expect(try await refused.open().reason == .notAdmitted)
        #expect(server.connections == 4)
        let start = ContinuousClock.now
        while (try? await curious.status()) != nil, ContinuousClock.now - start < .seconds(10) {
            try await Task.sleep(for: .milliseconds(20))
        }
        _ = try await eventually { server.connections == 1 ? true : nil }
        for stranger in [silent, curious, refused] { _ = try await eventually { stranger.connection.failure } }
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        await server.stop()
    }

    @Test("requests sent right behind open are carried out after it, in order")
    func pipelinedOpen() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient(port: server.port)
        let proof = client.key.signingKey.sign(sessionProof(handshakeHash: client.connection.handshakeHash))
        var random = SplitMix64(seed: 2)
        let blocks = (0..<8).map { _ in TestBlock(2000, &random) }
        var answers = [client.send(.open(volume: client.key.id, proof: proof))]
        answers += blocks.map { client.send($0.request(), payload: $0.bytes) }
        for answer in answers { #expect(try await answer.response() == .done) }
        #expect(try await client.ask(.flush(expecting: blocks.map(\.id))) == .missing([]))
        guard case .listed(let listed) = try await client.ask(.list(after: nil)) else { throw Unexpected() }
        #expect(Set(listed.map(\.block)) == Set(blocks.map(\.id)))
        await server.stop()
    }

    @Test("the authorized file is read again when it changes, and never opens the server to all")
    func changedFile() async throws {
        let folder = try TemporaryFolder()
        let lists = try TemporaryFolder()
        let file = lists.path.appending("authorized")
        let (first, second) = (VolumeKey.generate(), VolumeKey.generate())
        try write("# mine\n\(first.id) 5M # laptop\n", to: file)
        let server = try await startServer(in: folder) { $0.authorizedFile = file }
        let client = try await TestClient.open(server, key: first)
        #expect(try await client.status().capacity == 5 << 20)
        #expect(try await TestClient(port: server.port, key: second).open().reason == .notAdmitted)

        try write("\(second.id)\n\(first.id) 7M\n", to: file)
        #expect(try await TestClient(port: server.port, key: second).open() == .done)
        #expect(try await client.status().capacity == 7 << 20)

        try write("", to: file)
        #expect(try await TestClient(port: server.port).open().reason == .notAdmitted)
        #expect(try await TestClient(port: server.port, key: second).open() == .done)
        try write("nonsense\n", to: file)
        #expect(try await TestClient(port: server.port).open().reason == .notAdmitted)
        #expect(try await TestClient(port: server.port, key: second).open() == .done)
        await server.stop()
    }

    @Test("a list that cannot be understood keeps the server from starting, and says which line")
    func brokenFile() async throws {
        let folder = try TemporaryFolder()
        let file = folder.path.appending("authorized")
        try write("\n\(VolumeKey.generate().id) 5X\n", to: file)
        let error = await #expect(throws: ServerError.self) {
            _ = try await startServer(in: folder) { $0.authorizedFile = file }
        }
        #expect(error?.description.contains("line 2") == true)
        // Nothing is left behind: it starts once the file is right.
        try write("", to: file)
        let server = try await startServer(in: folder) { $0.authorizedFile = file }
        await server.stop()
    }

    @Test("unlisted volumes come from the own network only, but known ones from anywhere")
    func networks() throws {
        var configuration = ServerConfiguration(dataDirectory: "/")
        configuration.unlistedQuota = 77
        let open = try Admission(configuration, logger: quiet)
        let volume = VolumeKey.generate().id
        #expect(open.decide(volume, isKnown: false, knownVolumes: 0) { true } == .admitted(quota: 77))
        #expect(open.decide(volume, isKnown: true, knownVolumes: 1) { false } == .admitted(quota: 77))
        for decision in [
            open.decide(volume, isKnown: false, knownVolumes: 0) { false },
            open.decide(volume, isKnown: false, knownVolumes: Admission.unlistedVolumes) { true },
        ] {
            guard case .refused = decision else {
                Issue.record("\(decision)")
                continue
            }
        }
    }
}

@Suite("The authorized list") struct AuthorizedListTests {
    private let id = String(repeating: "0a", count: 32)

    private func parse(_ text: String) throws -> [ServerConfiguration.Allowance] {
        try AuthorizedList.parse(Array(text.utf8), path: "list")
    }

    @Test("lines, blanks and comments")
    func lines() throws {
        let other = String(repeating: "FF", count: 32)
        let list = try parse("# all\n\n  \(id)\t10G # mine\r\n\(other)# no quota\n#\(id)\n   \n")
        #expect(list.map(\.quota) == [10 << 30, nil])
        #expect(list.map(\.volume.hex) == [id, other.lowercased()])
        #expect(try parse("").isEmpty)
    }

    @Test(
        "sizes",
        arguments: [
            ("1", 1), ("1k", 1024), ("1KB", 1000), ("1KiB", 1024), ("2M", 2 << 20), ("1.5G", 3 << 29),
            ("0.25t", 1 << 38), ("7b", 7), ("16E", nil), ("15E", 15 << 60), ("1.5", nil), ("1.", nil), (".5G", nil),
            ("-1", nil), ("G", nil), ("1Q", nil), ("1GBs", nil), ("99999999999999999999", nil), ("1.1234567G", nil),
            ("", nil), ("15.999999E", 18446742920788047009),
        ] as [(String, UInt64?)])
    func sizes(text: String, bytes: UInt64?) {
        #expect(AuthorizedList.bytes(Array(text.utf8)[...]) == bytes)
    }

    @Test("what is wrong is said with its line")
    func errors() throws {
        let cases = [
            ("x", 1), ("\n\(id)0", 2), ("\(id)\n\(id)", 2), ("\(id) 0", 1), ("\(id) 1G more", 1), ("\n\n\(id) -", 3),
            ("\u{1B}[2J", 1),
        ]
        for (text, line) in cases {
            let error = #expect(throws: AuthorizedListError.self) { try parse(text) }
            #expect(error?.line == line)
            #expect(error?.description.utf8.contains(0x1B) == false)
        }
    }

    @Test("random bytes are refused or read, never worse", arguments: 0..<20 as Range<UInt64>)
    func garbage(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var bytes = random.bytes(Int.random(in: 0..<2000, using: &random))
        if seed.isMultiple(of: 2) { bytes = bytes.map { $0 % 16 < 10 ? $0 % 16 + 48 : $0 % 4 == 0 ? 10 : 32 } }
        _ = try? AuthorizedList.parse(bytes, path: "list")
    }
}

@Suite("The machine's own networks") struct LocalNetworksTests {
    private let networks = [
        LocalNetworks.Network(address: [10, 0, 4, 1], mask: [255, 255, 254, 0]),
        LocalNetworks.Network(
            address: [0xFE, 0x80] + [UInt8](repeating: 0, count: 13) + [1],
            mask: [UInt8](repeating: 255, count: 8) + [UInt8](repeating: 0, count: 8)),
        // A tunnel without a network behind it.
        LocalNetworks.Network(address: [172, 16, 0, 1], mask: [0, 0, 0, 0]),
    ]

    @Test(
        "as a server sees its clients' addresses",
        arguments: [
            ("127.0.0.1:4000", true), ("[::1]:4000", true), ("[::ffff:127.0.0.1]:4000", true),
            ("10.0.5.9:4000", true), ("[::ffff:10.0.5.9]:4000", true), ("10.0.6.9:4000", false),
            ("[fe80::77]:4000", true), ("[2001:db8::77]:4000", false), ("172.16.0.2:4000", false),
            ("nowhere:4000", false), ("a client that left", false), ("", false),
        ])
    func addresses(address: String, isLocal: Bool) {
        #expect(LocalNetworks.contain(address, networks: networks) == isLocal)
    }

    @Test("this machine has loopback at least")
    func here() {
        #expect(LocalNetworks.ofThisMachine().contains { $0.address == [127, 0, 0, 1] && $0.mask == [255, 0, 0, 0] })
    }
}
