import LanfsTree
import SystemPackage
import Testing

@testable import LanfsFileSystem
@testable import LanfsProtocol

@Suite("Pinned roots")
struct PinnedRootTests {
    private func root(_ sequence: UInt64, ballot: UInt64 = 1) -> PinnedRoot {
        let server = ServerID(word0: 1, word1: 2, word2: 3, word3: 4)
        let config = VolumeConfig(
            version: 1, servers: [Member(server: server, weight: 1)], keepers: Keepers([server]), replicas: 2)
        var record = RootRecord(
            creating: .zero, config: config, contents: [1, 2, 3], ballot: Ballot(counter: ballot, proposer: 1))
        record.sequence = sequence
        return PinnedRoot(record, RecordHash(word0: sequence, word1: 0, word2: 0, word3: 0))
    }

    @Test("are kept once each, in the order of their commits")
    func once() throws {
        let volume = try Volume()
        try volume.run { (tree) throws(Interruption) in
            for root in [root(7), root(300), root(7, ballot: 2)] { try tree.pin(root) }
        }
        #expect(try volume.read { (tree) throws(Interruption) in try tree.pinnedRoots() } == [root(7), root(300)])
        #expect(root(7).name == "7-00000000")
        #expect(try volume.check() == [])
        try volume.run { (tree) throws(Interruption) in try tree.unpin(root(7)) }
        #expect(try volume.read { (tree) throws(Interruption) in try tree.pinnedRoots() } == [root(300)])
        // What a person dropped does not come back with the next server that shows it.
        try volume.run { (tree) throws(Interruption) in try tree.pin(root(7)) }
        #expect(try volume.read { (tree) throws(Interruption) in try tree.pinnedRoots() } == [root(300)])
        #expect(try volume.check() == [])
    }

    @Test("that cannot be read are no absence of them")
    func damaged() throws {
        let volume = try Volume()
        volume.apply([Change(key: RecordKey.pinnedRoot(sequence: 7, .zero).key, value: [1, 2])])
        #expect(throws: Errno.ioError) { try volume.read { (tree) throws(Interruption) in try tree.pinnedRoots() } }
        #expect(try volume.check().count == 1)
    }

    @Test("and recoveries whose servers are away hold space back")
    func hold() throws {
        let volume = try Volume()
        let server = ServerID(word0: 1, word1: 2, word2: 3, word3: 4)
        var history = RecoveryHistory()
        history.add(RecoveryPoint(id: 5, of: root(40).record, NoAuthority()))
        func hold() throws -> RecoveryHold {
            try volume.read { (tree) throws(Interruption) in try tree.recoveryHold(after: history) }
        }
        // Nobody has looked yet.
        #expect(try hold() == RecoveryHold(recovery: 40, isOpen: true, pinsRoots: false))
        #expect(try !hold().allowsSweeping && !hold().allowsFreeing(made: 40) && hold().allowsFreeing(made: 41))
        var watch = RecoveryWatch(awaiting: [server])
        try volume.run { (tree) throws(Interruption) in tree.setRecoveryWatch(watch, of: 5) }
        #expect(try hold().isOpen)
        watch.note([server: .followed], members: [server])
        try volume.run { (tree) throws(Interruption) in
            tree.setRecoveryWatch(watch, of: 5)
            try tree.pin(root(44))
        }
        #expect(try hold().allowsSweeping && !hold().allowsFreeing(made: 0))
        try volume.run { (tree) throws(Interruption) in try tree.unpin(root(44)) }
        #expect(try !hold().isInForce && hold().allowsFreeing(made: 0))
        #expect(try volume.check() == [])
        try volume.run { (tree) throws(Interruption) in try tree.forgetRecoveries(except: RecoveryHistory()) }
        #expect(try volume.read { (tree) throws(Interruption) in try tree.recoveryWatch(of: 5) } == nil)
    }
}

private struct NoAuthority: RecordVerifier {
    func hash(_ bytes: [UInt8]) -> RecordHash { .zero }
    func isValid(signature: [UInt8], of bytes: [UInt8], by volume: VolumeID) -> Bool { true }
}
