import Glibc
import SystemPackage

/// What a file system has to hold, in memory: folders and files by path, hard links as equal numbers.
struct Model {
    enum Node: Equatable {
        case folder
        case file(Int)
    }

    private(set) var nodes: [String: Node] = [:]
    private(set) var contents: [Int: [UInt8]] = [:]
    private var nextFile = 0

    /// All folders by path, the root as the empty one; sorted, so that a seed is one run.
    private(set) var folders: [String] = [""]

    var paths: [String] { nodes.keys.sorted() }

    func children(_ folder: String) -> [String] {
        let prefix = folder.isEmpty ? "" : folder + "/"
        return nodes.keys.filter { $0.hasPrefix(prefix) && !$0.dropFirst(prefix.count).contains("/") }
            .map { String($0.dropFirst(prefix.count)) }.sorted()
    }

    func links(_ file: Int) -> Int { nodes.values.reduce(0) { $0 + ($1 == .file(file) ? 1 : 0) } }

    private mutating func changed() { folders = [""] + nodes.filter { $0.value == .folder }.keys.sorted() }

    /// The file at `path`, made when there is none and `create` says so.
    private mutating func file(_ path: String, create: Bool) throws(Errno) -> Int {
        switch nodes[path] {
        case .folder: throw .isDirectory
        case .file(let file): return file
        case nil:
            guard create else { throw .noSuchFileOrDirectory }
            nextFile += 1
            nodes[path] = .file(nextFile)
            contents[nextFile] = []
            return nextFile
        }
    }

    /// - Parameter offset: nil for the end of the file.
    mutating func write(_ path: String, _ bytes: ArraySlice<UInt8>, at offset: Int?) throws(Errno) {
        let file = try file(path, create: true)
        let start = offset ?? contents[file, default: []].count
        if bytes.isEmpty { return }
        resize(file, atLeast: start + bytes.count)
        contents[file, default: []].replaceSubrange(start..<(start + bytes.count), with: bytes)
    }

    private mutating func resize(_ file: Int, atLeast size: Int) {
        let missing = size - contents[file, default: []].count
        if missing > 0 { contents[file, default: []].append(contentsOf: repeatElement(0, count: missing)) }
    }

    mutating func truncate(_ path: String, _ size: Int) throws(Errno) {
        let file = try file(path, create: false)
        resize(file, atLeast: size)
        contents[file, default: []].removeLast(contents[file, default: []].count - size)
    }

    mutating func read(_ path: String, at offset: Int, _ count: Int) throws(Errno) -> ArraySlice<UInt8> {
        let bytes = contents[try file(path, create: false), default: []]
        return bytes.dropFirst(offset).prefix(count)
    }

    mutating func makeFolder(_ path: String) throws(Errno) {
        guard nodes[path] == nil else { throw .fileExists }
        nodes[path] = .folder
        changed()
    }

    mutating func removeFolder(_ path: String) throws(Errno) {
        guard let node = nodes[path] else { throw .noSuchFileOrDirectory }
        guard node == .folder else { throw .notDirectory }
        guard children(path).isEmpty else { throw .directoryNotEmpty }
        nodes[path] = nil
        changed()
    }

    mutating func unlink(_ path: String) throws(Errno) {
        let file = try file(path, create: false)
        nodes[path] = nil
        if links(file) == 0 { contents[file] = nil }
    }

    mutating func link(_ old: String, _ new: String) throws(Errno) {
        guard let node = nodes[old] else { throw .noSuchFileOrDirectory }
        guard nodes[new] == nil else { throw .fileExists }
        guard node != .folder else { throw .notPermitted }
        nodes[new] = node
    }

    /// In the order in which Linux looks for reasons to refuse.
    mutating func rename(_ old: String, _ new: String) throws(Errno) {
        guard let node = nodes[old] else { throw .noSuchFileOrDirectory }
        if new.hasPrefix(old + "/") { throw .invalidArgument }
        if old.hasPrefix(new + "/") { throw .directoryNotEmpty }
        if old == new { return }
        if let target = nodes[new] {
            if case .file = node, target == node { return }
            if node == .folder, target != .folder { throw .notDirectory }
            if node != .folder, target == .folder { throw .isDirectory }
            if target == .folder { try removeFolder(new) } else { try unlink(new) }
        }
        nodes[old] = nil
        nodes[new] = node
        if node == .folder {
            for path in nodes.keys.filter({ $0.hasPrefix(old + "/") }) {
                nodes[new + path.dropFirst(old.count)] = nodes.removeValue(forKey: path)
            }
            changed()
        }
    }
}
