import Testing

@testable import LanfsProtocol

@Suite("After a recovery by force") struct RecoveryWatchTests {
    private let servers = (1...4).map { ServerID(word0: UInt64($0), word1: 0, word2: 0, word3: 0) }

    @Test("servers are waited for that may come back, and that may go on together")
    func waits() {
        let keepers = Keepers(Array(servers.prefix(3)))
        var watch = RecoveryWatch(awaiting: servers.reversed())
        #expect(watch.awaited == servers)
        // The survivor, and one that only stores blocks.
        watch.note([servers[0]: .followed, servers[3]: .followed], members: servers)
        #expect(watch.awaited == [servers[1], servers[2]])
        // One is here; with the other it could still choose roots.
        watch.note([servers[1]: .behind([keepers])], members: servers)
        #expect(watch.awaited == [servers[1], servers[2]])
        watch.note([servers[1]: .behind([keepers]), servers[2]: .behind([keepers])], members: servers)
        #expect(watch.awaited == [servers[1], servers[2]])
        // A person gives the other one up: one alone can choose nothing.
        watch.note([servers[1]: .behind([keepers])], members: [servers[0], servers[1], servers[3]])
        #expect(watch.isOver)
    }

    @Test("one of two keepers can choose nothing alone")
    func two() {
        var watch = RecoveryWatch(awaiting: Array(servers.prefix(2)))
        watch.note([servers[0]: .followed], members: Array(servers.prefix(2)))
        #expect(!watch.isOver)
        watch.note([servers[1]: .behind([Keepers(Array(servers.prefix(2)))])], members: Array(servers.prefix(2)))
        #expect(watch.isOver)
    }

    @Test("a server without a root is waited for once a side has moved there, until it follows")
    func successor() {
        let (before, after) = (Keepers(Array(servers.prefix(3))), Keepers([servers[3]]))
        var watch = RecoveryWatch(awaiting: servers)
        watch.note([servers[0]: .followed, servers[3]: .empty], members: servers)
        #expect(watch.awaited == [servers[1], servers[2]])
        // Both come back, and show where they went.
        let both: RecoveryWatch.Standing = .behind([before, after])
        watch.note([servers[1]: both, servers[2]: both, servers[3]: .empty], members: servers)
        #expect(watch.awaited == Array(servers.dropFirst()))
        watch.note([servers[1]: .followed, servers[2]: .followed, servers[3]: .empty], members: servers)
        #expect(watch.awaited == [servers[3]], "whoever has the seal can still bring it there")
        watch.note([servers[3]: .behind([after])], members: servers)
        #expect(watch.awaited == [servers[3]], "it chooses alone")
        watch.note([servers[3]: .followed], members: servers)
        #expect(watch.isOver)
    }

    @Test("what is waited for comes back from its bytes")
    func codec() throws {
        var watch = RecoveryWatch(awaiting: servers)
        watch.note([servers[0]: .followed, servers[1]: .behind([Keepers(servers)]), servers[3]: .empty], members: servers)
        var writer = ByteWriter()
        watch.encode(into: &writer)
        var reader = ByteReader(writer.bytes)
        #expect(try RecoveryWatch(from: &reader) == watch)
        try reader.finish()
    }
}
