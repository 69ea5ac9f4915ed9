import Glibc
import SystemPackage

/// What a file system has to hold, in memory: folders, files and symbolic links by path, hard links as equal numbers.
struct Model {
    enum Node: Equatable {
        case folder
        case file(Int)
        /// A symbolic link, which leads nowhere.
        case link(Int)
    }

    private(set) var nodes: [String: Node] = [:]
    private(set) var contents: [Int: [UInt8]] = [:]
    private(set) var targets: [Int: String] = [:]
    /// Extended attributes of files.
    private(set) var attributes: [Int: [String: [UInt8]]] = [:]
    private var nextFile = 0

    /// All folders by path, the root as the empty one; sorted, so that a seed is one run.
    private(set) var folders: [String] = [""]

    var paths: [String] { nodes.keys.sorted() }

    func children(_ folder: String) -> [String] {
        let prefix = folder.isEmpty ? "" : folder + "/"
        return nodes.keys.filter { $0.hasPrefix(prefix) && !$0.dropFirst(prefix.count).contains("/") }
            .map { String($0.dropFirst(prefix.count)) }.sorted()
    }

    func links(_ node: Node) -> Int { nodes.values.reduce(0) { $0 + ($1 == node ? 1 : 0) } }

    private mutating func changed() { folders = [""] + nodes.filter { $0.value == .folder }.keys.sorted() }

    /// The file at `path`, made when there is none and `create` says so.
    private mutating func file(_ path: String, create: Bool) throws(Errno) -> Int {
        switch nodes[path] {
        case .folder: throw .isDirectory
        case .file(let file): return file
        case .link: throw .noSuchFileOrDirectory
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

    /// fallocate(2): makes the range zeros, as far as the file goes.
    mutating func punch(_ path: String, _ range: Range<Int>) throws(Errno) {
        let file = try file(path, create: false)
        let inside = range.clamped(to: 0..<contents[file, default: []].count)
        contents[file, default: []].replaceSubrange(inside, with: repeatElement(0, count: inside.count))
    }

    /// fallocate(2): makes the file at least as long.
    mutating func allocate(_ path: String, _ end: Int) throws(Errno) {
        resize(try file(path, create: false), atLeast: end)
    }

    mutating func setAttribute(_ path: String, _ name: String, _ value: [UInt8]) throws(Errno) {
        if case .link = nodes[path] { throw .notPermitted }
        attributes[try file(path, create: false), default: [:]][name] = value
    }

    mutating func makeLink(_ path: String, to target: String) throws(Errno) {
        guard nodes[path] == nil else { throw .fileExists }
        nextFile += 1
        nodes[path] = .link(nextFile)
        targets[nextFile] = target
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
        guard let node = nodes[path] else { throw .noSuchFileOrDirectory }
        guard node != .folder else { throw .isDirectory }
        nodes[path] = nil
        guard links(node) == 0 else { return }
        switch node {
        case .folder: break
        case .file(let file): (contents[file], attributes[file]) = (nil, nil)
        case .link(let link): targets[link] = nil
        }
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
            if node != .folder, target == node { return }
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

    mutating func exchange(_ one: String, _ other: String) throws(Errno) {
        guard nodes[one] != nil, nodes[other] != nil else { throw .noSuchFileOrDirectory }
        if one.hasPrefix(other + "/") || other.hasPrefix(one + "/") { throw .invalidArgument }
        let (first, second) = (cutOut(one), cutOut(other))
        for (rest, node) in first { nodes[other + rest] = node }
        for (rest, node) in second { nodes[one + rest] = node }
        changed()
    }

    /// Takes a path and all below it away; what is left of each path, and what was there.
    private mutating func cutOut(_ top: String) -> [(rest: Substring, node: Node)] {
        nodes.keys.filter { $0 == top || $0.hasPrefix(top + "/") }.compactMap { path in
            nodes.removeValue(forKey: path).map { (path.dropFirst(top.count), $0) }
        }
    }
}
