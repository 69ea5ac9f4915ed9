import Logging
let l = Logger(label: "x")
