import CLinux
import CShimMessages

// SHIM-B: delete this file when Clone*.swift defines these.
func clonePause(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>, networkNamespace: Int32, warnings: inout [String]
) -> (CloneOutcome, Pod) {
  (
    CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: StepFailure(step: "stub", errno: 38, subject: "")),
    Pod(pausePid: -1, pausePidfd: -1, selfPidNamespace: -1, shmMount: -1)
  )
}
func cloneContainer(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, stdio: Stdio, pod: Pod, targetPidfd: Int32,
  warnings: inout [String]
) -> CloneOutcome {
  CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: StepFailure(step: "stub", errno: 38, subject: ""))
}
func cloneExec(
  _ request: UnsafePointer<Swiftlet__Shim__V1__ExecSyncRequest>, stdio: Stdio, taskPidfd: Int32, pod: Pod
) -> CloneOutcome {
  CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: StepFailure(step: "stub", errno: 38, subject: ""))
}
func readStepFailure(_ bytes: [UInt8]) -> StepFailure? { nil }
