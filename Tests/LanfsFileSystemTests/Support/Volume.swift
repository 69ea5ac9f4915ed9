import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage
import TestSupport
import Testing

/// A volume in memory: what a client is to the operations, with sealing, uploading and fetching left out.
final class Volume {
    private(set) var tree: Tree
    let nodes: NodeCache
    /// Plain bytes of every frame ever sealed, tree nodes and chunks of files.
    private var frames: [Place: [UInt8]] = [:]
    private var generator: SplitMix64
    /// Percent of operations before which every node in the cache is forgotten.
    var forgetfulness = 0
    /// Percent of operations that are run once more, to see whether they come to the same.
    var doubt = 0
    private(set) var missing = 0

    let incarnation = Incarnation(high: 1, low: 2)
    var open: Set<InodeNumber> = []
    private var numbers: Range<InodeNumber> = 0..<0
    var now: Int64 = 1000
    var user: UInt32 = 0

    private struct Place: Hashable {
        let block: BlockID
        let offset: UInt32
    }

    init(shape: NodeShape = .standard, seed: UInt64 = 1, cache: Int = 64 << 20) throws {
        tree = Tree(shape: shape)
        nodes = NodeCache(limitBytes: cache)
        generator = SplitMix64(seed: seed)
        try run { (tree) throws(Interruption) in try tree.format(by: self.caller) }
    }

    var caller: Caller {
        Caller(user: user, group: user, umask: 0, now: Timestamp(seconds: now, nanoseconds: 5))
    }

    /// Runs an operation until no node is missing and keeps what it changed, unless it failed.
    @discardableResult
    func run<Result>(
        _ operation: (inout Transaction) throws(Interruption) -> Result
    ) throws(Errno) -> Result {
        if forgetfulness > 0, generator.chance(forgetfulness) { nodes.removeAll() }
        while true {
            var transaction = Transaction(reading: tree, nodes: nodes)
            do throws(Interruption) {
                let result = try operation(&transaction)
                if doubt > 0, generator.chance(doubt) {
                    var again = Transaction(reading: tree, nodes: nodes)
                    _ = try operation(&again)
                    #expect(again.changes == transaction.changes, "an operation is a function (T1)")
                }
                apply(transaction.changes)
                return result
            } catch {
                switch error {
                case .missing(let node): fetch(node)
                case .failed(let errno): throw errno
                }
            }
        }
    }

    func read<Result>(_ operation: (Transaction) throws(Interruption) -> Result) throws(Errno) -> Result {
        try run { (tree) throws(Interruption) in try operation(tree) }
    }

    func apply(_ changes: [Change]) {
        while true {
            do { return try tree.apply(changes, nodes: nodes) } catch { fetch(error) }
        }
    }

    private func fetch(_ node: MissingNode) {
        missing += 1
        guard let payload = frames[Place(block: node.ref.block, offset: node.ref.offset)],
            let decoded = try? Node(decoding: payload, for: node)
        else { fatalError("node \(node) was never stored") }
        nodes.insert(node.ref, decoded)
    }

    func newBlock() -> BlockID {
        BlockID(word0: generator.next(), word1: generator.next(), word2: generator.next(), word3: generator.next())
    }

    /// Makes frames of one block, one after the other from `offset` on.
    func seal(_ payloads: [[UInt8]], in block: BlockID? = nil) -> [FrameRef] {
        let block = block ?? newBlock()
        var offset: UInt32 = 0
        return payloads.enumerated().map { index, payload in
            let length = UInt32(payload.count + Limits.frameOverhead)
            defer { offset += length }
            frames[Place(block: block, offset: offset)] = payload
            return FrameRef(block: block, key: .zero, index: UInt32(index), offset: offset, length: length)
        }
    }

    /// Stores the tree's nodes, so that from then on they can be missing.
    func checkpoint() throws {
        let checkpoint = tree.checkpoint { self.seal($0) }
        try tree.install(checkpoint, changesSince: [], nodes: nodes)
    }

    func plain(_ frame: FrameRef) -> [UInt8] {
        frames[Place(block: frame.block, offset: frame.offset)] ?? []
    }

    func check() throws -> [Damage] {
        while true {
            do { return try Transaction(reading: tree, nodes: nodes).check() } catch {
                guard case .missing(let node) = error else { throw error }
                fetch(node)
            }
        }
    }

    /// Every record, to compare volumes.
    func records() throws(Errno) -> [Change] {
        try read(Self.records)
    }

    private static func records(of tree: Transaction) throws(Interruption) -> [Change] {
        var all: [Change] = []
        do {
            try tree.scan(from: .empty, below: Key([255])) { key, value in
                all.append(Change(key: key, value: value))
                return true
            }
        } catch {
            throw .missing(error)
        }
        return all
    }

    func nextNumber() throws(Errno) -> InodeNumber {
        if numbers.isEmpty {
            numbers = try run { (tree) throws(Interruption) in try tree.reserveInodes(1000) }
        }
        defer { numbers = numbers.lowerBound + 1..<numbers.upperBound }
        return numbers.lowerBound
    }
}

// MARK: What a client makes of reads and writes

extension Volume {
    func contents(_ inode: InodeNumber, offset: UInt64 = 0, count: Int = .max) throws(Errno) -> [UInt8] {
        let plan = try read { (tree) throws(Interruption) in try tree.readPlan(inode, offset: offset, count: count) }
        var bytes: [UInt8] = []
        for piece in plan {
            switch piece {
            case .hole(let count): bytes.append(contentsOf: repeatElement(0, count: count))
            case .inline(let part): bytes.append(contentsOf: part)
            case .frame(let frame, let skip, let take):
                bytes.append(contentsOf: plain(frame).dropFirst(skip).prefix(take))
            }
        }
        return bytes
    }

    func write(_ inode: InodeNumber, offset: UInt64, _ bytes: [UInt8]) throws(Errno) -> Attributes {
        let range = offset..<offset + UInt64(bytes.count)
        let attributes = try run { (tree) throws(Interruption) in
            try tree.noteWrite(inode, range: range, by: self.caller)
        }
        guard !bytes.isEmpty else { return attributes }
        let chunkSize = UInt64(Limits.chunkSize)
        let first = range.lowerBound / chunkSize
        let last = (range.upperBound - 1) / chunkSize
        var payloads: [[UInt8]] = []
        for chunk in first...last {
            var payload = try self.chunk(chunk, of: inode)
            let start = chunk * chunkSize
            let part = range.clamped(to: start..<start + chunkSize)
            if payload.count < Int(part.upperBound - start) {
                payload += [UInt8](repeating: 0, count: Int(part.upperBound - start) - payload.count)
            }
            payload.replaceSubrange(
                Int(part.lowerBound - start)..<Int(part.upperBound - start),
                with: bytes[Int(part.lowerBound - offset)..<Int(part.upperBound - offset)])
            if chunk < last, payload.count < Limits.chunkSize {
                payload += [UInt8](repeating: 0, count: Limits.chunkSize - payload.count)
            }
            payloads.append(payload)
        }
        if first == 0, payloads.count == 1, payloads[0].count <= FileSystemLimits.inlineContents {
            try run { (tree) throws(Interruption) in try tree.putInline(inode, payloads[0]) }
        } else {
            var frames = seal(payloads)[0]
            frames.length = UInt32(payloads.reduce(0) { $0 + $1.count + Limits.frameOverhead })
            let run = frames
            try self.run { (tree) throws(Interruption) in
                try tree.putRun(
                    inode, firstChunk: first, count: UInt32(payloads.count), frames: run,
                    lastLength: UInt32(payloads[payloads.count - 1].count))
            }
        }
        return attributes
    }

    private func chunk(_ chunk: UInt64, of inode: InodeNumber) throws(Errno) -> [UInt8] {
        switch try read({ (tree) throws(Interruption) in try tree.chunk(chunk, of: inode) }) {
        case .hole: return []
        case .inline(let bytes): return bytes
        case .frame(let frame, let length): return Array(plain(frame).prefix(length))
        }
    }
}

// MARK: Damage

extension Volume {
    /// Changes an inode's record as no operation would.
    func damage(_ inode: InodeNumber, _ change: (inout InodeRecord) -> Void) throws {
        let key = RecordKey.inode(inode).key
        let bytes = try #require(try Transaction(reading: tree, nodes: nodes).value(key))
        var record = try InodeRecord(decoding: bytes, of: inode)
        change(&record)
        apply([Change(key: key, value: record.encoded())])
    }
}
