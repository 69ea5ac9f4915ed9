import LanfsCrypto
import LanfsLocal
import LanfsProtocol
import NIOCore
import SystemPackage

/// Acknowledged work that could not be saved because the server was gone when the volume was closed, kept on this machine
/// and saved at the next opening: as it is where nobody changed the volume meanwhile, else done again on what others made
/// (L6). All of it is sealed.
struct SetAside {
    struct Commit: Equatable {
        /// Sealed.
        var contents: [UInt8]
        /// Those up to this one are in it.
        var operations: UInt64
    }

    private static let version: UInt8 = 2
    private static let sizeLimit = 1 << 30
    /// The log's place among what the tree's key seals (`FrameSeal`); the contents of roots are at 0.
    static let logIndex: UInt32 = 1

    /// The commit that the work was based on.
    var base: RootRecord
    /// One commit, or two when the outcome of the first was not known, in order.
    var commits: [Commit]
    /// What was done, sealed.
    var log: [UInt8]
    var blocks: [(id: BlockID, bytes: [UInt8])]

    static func path(of volume: VolumeID, _ directories: UserDirectories) -> FilePath {
        directories.state(ofVolume: volume.hex).appending("unsaved")
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 8192 + log.count + blocks.reduce(0) { $0 + $1.bytes.count + 40 })
        writer.append(Self.version)
        base.encode(into: &writer)
        writer.append(list: commits) {
            $0.append(prefixed: $1.contents)
            $0.append($1.operations)
        }
        writer.append(prefixed: log)
        writer.append(list: blocks) {
            $0.append($1.id)
            $0.append(prefixed: $1.bytes)
        }
        return writer.bytes
    }

    init(base: RootRecord, commits: [Commit], log: [UInt8], blocks: [(id: BlockID, bytes: [UInt8])]) {
        self.base = base
        self.commits = commits
        self.log = log
        self.blocks = blocks
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.version else { throw .invalid(what: "the version of unsaved work") }
        base = try RootRecord(from: &reader)
        commits = try reader.list(minimum: 12, limit: 2) { (reader) throws(DecodingError) in
            Commit(contents: try reader.prefixed(), operations: try reader.integer())
        }
        log = try reader.prefixed()
        blocks = try reader.list(minimum: 36) { (reader) throws(DecodingError) in
            (try reader.id(), try reader.prefixed(limit: Limits.blockSize))
        }
        try reader.finish()
    }

    static func load(_ path: FilePath) throws(VolumeError) -> SetAside? {
        do {
            guard let bytes = try PrivateFile.read(path, limit: sizeLimit) else { return nil }
            return try SetAside(decoding: bytes)
        } catch let error as LocalFileError {
            throw .local(error)
        } catch {
            throw .damaged("the unsaved work in \(path) (\(error))")
        }
    }
}

/// Acknowledged work that is on this machine only.
public struct KeptWork: Sendable {
    public let path: FilePath
    /// Why it could not be saved, as part of a sentence.
    public let reason: String
}

extension SetAside {
    static func isThere(_ path: FilePath) throws(VolumeError) -> Bool {
        do throws(LocalFileError) {
            return try PrivateFile.isThere(path)
        } catch {
            throw .local(error)
        }
    }
}

extension Volume {
    /// Writes what is acknowledged and not saved to a file of this machine. Returns where, or `nil` when there is nothing.
    func setAside() async throws(VolumeError) -> FilePath? {
        guard current({ $0.operations > $0.committedOperations || $0.prepared != nil }) else { return nil }
        // From here on nothing is committed and nothing acknowledged: the server may come back at any moment, and a commit
        // under way beside this one would take a part of the work, or pass it over.
        register.close()
        let (base, unknown, operations) = update { state in
            state.isSetAside = true
            state.failure = .ioError
            return (state.chain.record, state.prepared, state.log)
        }
        var commits = unknown.map { [$0] } ?? []
        let rest = attempt { (state) throws(Pause) in
            var chain = state.chain
            // The next one continues from it, whatever became of it.
            if let unknown { chain.advance(unknown, to: chain.record, unknown.contents) }
            return self.prepare(try state.cut(into: self.blocks), on: chain)
        }
        switch rest {
        case .success(let prepared): commits.append(prepared)
        case .failure:
            // A tree node that only the server has is needed to seal the rest. What was prepared is kept.
            log.error("a part of the unsaved work needs the server even to be set aside, and is lost")
        }
        var blocks = self.blocks.unflushed
        for block in commits.flatMap(\.blocks) where !blocks.contains(where: { $0.id == block.id }) {
            blocks.append((block.id, block.bytes))
        }
        let aside = SetAside(
            base: base, commits: commits.map { SetAside.Commit(contents: seal($0.contents), operations: $0.operations) },
            log: FrameSeal.seal(operations.encoded(), key: key.treeKey, index: SetAside.logIndex),
            blocks: blocks.map { ($0.id, Array($0.bytes.readableBytesView)) })
        var path = SetAside.path(of: id, directories)
        // That of another session on this machine is not to be lost for it.
        if try SetAside.isThere(path) { path = FilePath("\(path).\(base.sequence)-\(incarnation)") }
        do throws(LocalFileError) {
            try PrivateFile.write(aside.encoded(), to: path)
        } catch {
            throw .local(error)
        }
        return path
    }

    /// Saves what an earlier session, or another one on this machine, had to set aside; what cannot be saved any more stays where
    /// it is. Part of taking the lease: what is changed before would be based on the root before it.
    func takeUpSetAside() async throws(VolumeError) {
        let path = SetAside.path(of: id, directories)
        let isDue = current { state in state.tookUpInVain.map { ContinuousClock.now - $0 > .seconds(60) } ?? true }
        // Two commits at once there must not be.
        guard !options.readOnly, isDue, !current({ $0.hasUnsavedWork }), try SetAside.isThere(path), let aside = try SetAside.load(path) else { return }
        do throws(VolumeError) {
            try await takeUp(aside, path)
        } catch .refused(let refusal) where refusal.reason == .full {
            // Or nothing could be deleted to make room.
            blocks.forget(aside.blocks.map(\.id))
            update { $0.tookUpInVain = .now }
            log.error(
                "the servers have no room for the work of an earlier session, which stays in \(path). Once they have, and if nothing else was changed before, it is saved: give them more room first, or delete something and do without that work",
                metadata: ["reason": "\(refusal.detail)"])
        }
    }

    private func takeUp(_ aside: SetAside, _ path: FilePath) async throws(VolumeError) {
        var record = current { $0.chain.record }
        let newest = try open(record)
        var commits: [RootContents] = []
        for commit in aside.commits {
            var contents = try Self.contents(commit.contents, key: key)
            contents.recoveries = newest.recoveries
            commits.append(contents)
        }
        if let done = commits.lastIndex(where: { $0.transaction == newest.transaction }) {
            commits.removeFirst(done + 1)
        } else if !isBase(aside.base, of: record, newest) {
            update { $0.tookUpInVain = .now }
            return log.notice(
                "other clients changed the volume since an earlier session set work aside: it is done again on what they made when the volume is opened the next time")
        }
        for block in aside.blocks {
            try await blocks.upload(SealedBlock(id: block.id, bytes: ByteBuffer(bytes: block.bytes)), gcEpoch: record.gcEpoch)
        }
        try await blocks.flush()
        for commit in commits {
            guard case .committed(let chosen) = await register.commit(
                RootChange(contents: seal(commit), gcEpoch: record.gcEpoch), on: record)
            else { throw .busy }
            record = chosen
        }
        try await load(record)
        try remove(path)
        log.notice("saved the work of an earlier session that had been set aside")
    }

    /// Whether a commit made on `base` can be made on `record`: it is that, or (M3) nothing but a forced recovery came after it.
    func isBase(_ base: RootRecord, of record: RootRecord, _ contents: RootContents) -> Bool {
        let signer = VolumeSigner(key: key.signingKey)
        let hash = base.hash(signer)
        if record.sequence == base.sequence, record.hash(signer) == hash { return true }
        return record.previous == hash && contents.recoveries.newest?.sequence == base.sequence
            && record.sequence == base.sequence + 1
    }

    func remove(_ path: FilePath) throws(VolumeError) {
        do throws(LocalFileError) {
            try PrivateFile.remove(path)
        } catch {
            throw .local(error)
        }
    }

    func rename(_ path: FilePath, to kept: FilePath) throws(VolumeError) {
        do throws(LocalFileError) {
            try PrivateFile.move(path, to: kept)
        } catch {
            throw .local(error)
        }
    }
}
