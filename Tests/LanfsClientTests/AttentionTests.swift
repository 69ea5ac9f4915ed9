import LanfsFileSystem
import Testing

@testable import LanfsClient

@Suite("A volume that nobody uses here")
struct AttentionTests {
    private func eventually(_ isSo: @escaping @Sendable () async throws -> Bool) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(25)
        while ContinuousClock.now < end {
            if try await isSo() { return true }
            try await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    /// As a program does that writes a file and closes it.
    private func save(_ bytes: [UInt8], as name: String, in volume: Volume) async throws {
        let (_, file) = try await volume.create(
            Array(name.utf8), in: rootInode, permissions: 0o644, flags: [.read, .write], by: caller
        ).value()
        let count = try await bytes.withUnsafeBytes {
            volume.write(file.handle, offset: 0, appends: false, data: $0, by: caller)
        }.value()
        #expect(count == bytes.count)
        try await volume.flush(file.handle, lockOwner: 0).value()
        volume.release(file.handle)
    }

    private func opened(_ name: String, in volume: Volume) async throws -> [UInt8] {
        let found = try await volume.lookup(Array(name.utf8), in: rootInode, by: 0).value()
        let file = try await volume.open(found.inode, flags: .read, by: caller).value()
        defer { volume.release(file.handle) }
        return try await volume.read(file.handle, offset: 0, count: 1 << 20).value().joined
    }

    /// L4: while nobody reads elsewhere what is closed need not be committed, and whoever comes back sees it all the same.
    @Test("leaves its keepers, so that whoever writes elsewhere is alone; and is shown the newest by its first operation")
    func leaves() async throws {
        let cluster = Cluster()
        let writer = try await cluster.make(of: 0..<3, keepers: 3, copies: 3)
        let reader = try await cluster.open(at: [0, 1, 2])
        // It is a session, as one that has asked for something.
        _ = try await reader.openDirectory(rootInode).value()
        try await save(pattern(1000), as: "file", in: writer)
        #expect(!writer.register.isSolo)
        #expect(try await opened("file", in: reader) == pattern(1000))
        // The reader took the lease when it found nobody else.
        try await save(pattern(10), as: "turn", in: writer)

        #expect(try await eventually { reader.attention.isAway && writer.register.isSolo })
        for round in 1...3 {
            try await save(pattern(1000 * round), as: "new \(round)", in: writer)
            let isUnsaved = writer.current(\.hasUnsavedWork)
            #expect(round > 1 || isUnsaved, "alone it need not be committed at once")
            #expect(try await opened("new \(round)", in: reader) == pattern(1000 * round))
            #expect(!reader.attention.isAway)
        }
        // Who has a lock would be taken for a machine that is gone.
        let (_, file) = try await reader.create([1], in: rootInode, permissions: 0o644, flags: [.read, .write], by: caller).value()
        let lock = LockRange(kind: .exclusive, start: 0, end: .max, pid: 1)
        _ = try await reader.setLock(file.handle, owner: 1, range: lock, wait: false).value()
        try await save(pattern(10), as: "another turn", in: writer)
        try await Task.sleep(for: Attention.patience + .seconds(5))
        #expect(!reader.attention.isAway)
        reader.release(file.handle)
        #expect(try await reader.close() == nil)
        #expect(try await writer.close() == nil)
        await cluster.stopAll()
    }
}
