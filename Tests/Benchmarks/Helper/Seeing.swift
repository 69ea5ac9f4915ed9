import Glibc

/// How long after a name was made, or moved, in one folder the other shows it so, where it was just listed: between two mounts
/// of one volume. Arguments: FOLDER FOLDER COUNT.
struct Seeing {
    private let folders: [String]
    private let count: Int

    init(_ arguments: inout Arguments) throws(Failure) {
        folders = [try arguments.text(), try arguments.text()]
        count = try arguments.number()
    }

    /// Prints the longest time in seconds.
    func wait() throws(Failure) {
        var longest = 0.0
        for number in 0..<count {
            let (name, moved) = ("\(folders[0])/name-\(number)", "\(folders[0])/moved-\(number)")
            let (seen, seenMoved) = ("\(folders[1])/name-\(number)", "\(folders[1])/moved-\(number)")
            try File(name, O_CREAT | O_EXCL | O_WRONLY).close()
            longest = max(longest, time { access(seen, F_OK) == 0 })
            guard let listing = opendir(folders[1]) else { throw Failure("opendir", folders[1]) }
            while readdir(listing) != nil {}
            closedir(listing)
            guard rename(name, moved) == 0 else { throw Failure("rename", name) }
            longest = max(longest, time { access(seen, F_OK) != 0 && access(seenMoved, F_OK) == 0 })
        }
        print(longest)
    }

    private func time(until isSo: () -> Bool) -> Double {
        let start = now()
        while !isSo() { usleep(500) }
        return now() - start
    }
}
