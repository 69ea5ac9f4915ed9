import Glibc
import LanfsProtocol
import Logging
import SystemPackage

@testable import LanfsStore

/// Every checksum is 0 and a block's name is its first byte, so that the fuzzer gets behind both.
let agreeableHash: BlockHash = { bytes in BlockID(word0: 0, word1: 0, word2: 0, word3: UInt64(bytes.first ?? 0)) }

private let options = {
    var options = BlockStore.Options()
    options.segmentSize = 2 << 20
    options.quarantine = .seconds(100)
    options.punchesHoles = true
    return options
}()

private let storeFiles = [
    "index.log", "segments/00000001.seg", "segments/00000001.idx", "segments/00000002.seg", "segments/00000002.idx",
]

extension Target {
    /// The structures of a store by themselves. First byte: which.
    static let storeParts = Target(
        name: "store-parts",
        seeds: {
            let header = RecordHeader(id: sampleID(0), gcEpoch: 1, length: 10, segment: 1, page: 1)
            let entry = Sidecar.Entry(id: sampleID(0), gcEpoch: 1, length: 10, page: 1, state: .live, time: 0)
            let sidecar = Sidecar(volume: sampleVolume, segment: 1, covered: 8192, entries: [entry])
            var changes = ByteWriter()
            for change in [
                StateChange.tagged(sampleID(1), gcEpoch: 2), .freed(sampleID(1), at: 3), .swept(sampleID(1), at: 4),
                .revived(sampleID(1)), .dropped(sampleID(1), segment: 1, page: 1), .sweepSeen(gcEpoch: 5),
            ] { change.encode(into: &changes) }
            let record = LogRecord(sequence: 0, time: 1, wall: 2, changes: changes.bytes)
            return [
                [0] + header.encode(volume: sampleVolume, hash: agreeableHash),
                [1] + record.encode(generation: 0, volume: sampleVolume, hash: agreeableHash),
                [2] + LogHeader().encode(volume: sampleVolume, hash: agreeableHash),
                [3] + sidecar.encode(hash: agreeableHash), [4] + changes.bytes,
            ]
        },
        run: { bytes in
            var input = Input(bytes)
            let kind = input.byte()
            let rest = input.all()
            switch kind {
            case 0: _ = RecordHeader(rest, segment: 1, page: 1, volume: sampleVolume, hash: agreeableHash)?.span
            case 1: _ = LogRecord(rest[...], generation: 0, volume: sampleVolume, hash: agreeableHash)
            case 2:
                _ = LogHeader.isFromAnotherVersion(rest)
                _ = LogHeader(rest, volume: sampleVolume, hash: agreeableHash)
            case 3:
                guard let sidecar = Sidecar(rest, volume: sampleVolume, segment: 1, hash: agreeableHash) else { return }
                require(sidecar.encode(hash: agreeableHash) == rest, "a sidecar changed on the way")
            default:
                var reader = ByteReader(rest)
                while reader.remaining > 0, (try? StateChange(from: &reader)) != nil {}
            }
        })

    /// A store's folder as found on disk: pages of its files. It is opened, used, and opened again.
    static let storeFolder = Target(
        name: "store-folder",
        seeds: {
            try [false, true].map { closes in
                let folder = ScratchFolder()
                let store = try openStore(folder)
                for number in 1...6 as ClosedRange<UInt8> { try put(number, in: store, size: 60 * Int(number)) }
                _ = try store.free([blockID(1), blockID(2)], gcEpoch: 2)
                _ = try store.touch([blockID(2)], gcEpoch: 3)
                _ = try store.sweep([blockID(3)], gcEpoch: 4, cutoff: 3)
                if closes { try store.close() } else { try store.flush() }
                return folder.pages(of: storeFiles)
            }
        },
        run: { bytes in
            let folder = ScratchFolder()
            folder.write(Input(bytes), to: storeFiles)
            for _ in 0..<2 {
                do {
                    let store = try openStore(folder)
                    defer { try? store.close() }
                    try use(store)
                } catch {}
            }
        })
}

private func blockID(_ number: UInt8) -> BlockID { BlockID(word0: 0, word1: 0, word2: 0, word3: UInt64(number)) }

private func openStore(_ folder: ScratchFolder) throws(StoreError) -> BlockStore {
    try BlockStore(
        folder: folder.path, volume: sampleVolume, options: options,
        space: Space(folder: folder.path, keepFree: 0, reserveSize: 0), hash: agreeableHash,
        clock: StoreClock(wall: { 1000 }, monotonic: { 50 }), logger: quietLogger)
}

private let quietLogger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }

private func put(_ number: UInt8, in store: BlockStore, size: Int = 20) throws {
    _ = try [UInt8](repeating: number, count: size).withUnsafeBytes { bytes in
        try store.put(blockID(number), bytes, gcEpoch: 2)
    }
}

private func use(_ store: BlockStore) throws {
    let stored = store.list(after: nil, limit: 100).map(\.block)
    for block in stored { _ = try? store.read(block) }
    var cursor = ScrubCursor()
    _ = try store.scrub(&cursor, budget: .max)
    _ = try store.free(Array(stored.prefix(2)), gcEpoch: 9)
    _ = try? store.sweep(Array(stored.dropFirst(2).prefix(2)), gcEpoch: 1 << 30, cutoff: 1 << 29)
    try put(200, in: store)
    try store.flush()
    require(store.contains(blockID(200)), "a block that was flushed is not there")
    _ = try store.touch(stored, gcEpoch: 10)
    try store.maintain()
    try store.rewriteLog()
    _ = store.status()
}

/// A folder in memory, where flushing costs nothing; deleted with the last use of it.
final class ScratchFolder {
    let path: FilePath
    private static let base: FilePath = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"

    init() {
        path = ScratchFolder.base.appending("lanfs-fuzz-\(getpid())")
        ScratchFolder.delete(path)
    }

    deinit { ScratchFolder.delete(path) }

    private static func delete(_ path: FilePath) {
        if path.withPlatformString({ unlink($0) }) == 0 { return }
        for name in (try? Disk.list(path)) ?? [] { delete(path.appending(name)) }
        _ = path.withPlatformString { rmdir($0) }
    }

    /// Pages of files: one byte names the file, one the page, a piece is what the page begins with.
    func write(_ input: Input, to names: [String]) {
        var input = input
        var files: [Int: [UInt8]] = [:]
        while !input.isEmpty {
            let file = Int(input.byte()) % names.count
            let start = Int(input.byte() & 63) * Int(Layout.page)
            let bytes = input.piece().prefix(Int(Layout.page))
            var content = files[file] ?? []
            let missing = start + Int(Layout.page) - content.count
            if missing > 0 { content += [UInt8](repeating: 0, count: missing) }
            content.replaceSubrange(start..<start + bytes.count, with: bytes)
            files[file] = content
        }
        for (file, name) in names.enumerated() {
            guard let content = files[file] else { continue }
            let target = path.pushing(FilePath(name))
            try? Disk.createDirectories(target.removingLastComponent())
            // A sidecar has no pages: it ends where its bytes do.
            let size = name.hasSuffix(".idx") ? (content.lastIndex { $0 != 0 } ?? -1) + 1 + 8 : content.count
            try? OpenFile(target, O_WRONLY | O_CREAT | O_TRUNC).write(Array(content.prefix(size)), at: 0)
        }
    }

    /// What `write` takes to make these files again.
    func pages(of names: [String]) -> [UInt8] {
        let page = Int(Layout.page)
        var bytes: [UInt8] = []
        for (file, name) in names.enumerated() {
            guard let found = try? OpenFile(path.pushing(FilePath(name)), O_RDONLY),
                let content = try? found.read(at: 0, count: 64 * page)
            else { continue }
            for start in stride(from: 0, to: content.count, by: page) {
                let part = content[start..<min(start + page, content.count)]
                guard let end = part.lastIndex(where: { $0 != 0 }) else { continue }
                bytes += [UInt8(file), UInt8(start / page)] + piece(Array(part[...end]))
            }
        }
        return bytes
    }
}
