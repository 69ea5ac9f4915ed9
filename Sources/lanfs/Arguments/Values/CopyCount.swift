/// How many servers have a copy of each block.
struct CopyCount: Hashable, Sendable, ArgumentValue, CustomStringConvertible {
    static let most = 16
    static let standard = CopyCount(2)

    let number: Int
    init(_ number: Int) { self.number = number }

    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        guard let number = argument.text.flatMap({ Int($0) }), (1...Self.most).contains(number) else {
            throw BadValue("\(argument.quoted) is not a number of copies; give 1 to \(Self.most)")
        }
        self.number = number
    }

    var description: String { "\(number)" }
}
