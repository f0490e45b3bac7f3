// Wrist camera: a saddle that two cable ties hold on the back of the gripper's printed body, and a plate
// that looks along the fingers. Nothing of the arm is drilled or replaced. Print it on its lips, with supports.

body_width_mm = 52;         // of the gripper's body where the saddle sits: measure, then print
saddle_length_mm = 36;
lip_mm = 8;                 // how far the saddle's sides reach around the body
wall_mm = 3;
stalk_mm = 32;              // from the body's back to the plate's lower edge: the fingers must be in view
tilt_deg = 30;              // the camera looks toward the finger tips
tie_width_mm = 5;           // cable ties of 4.8 mm
tie_height_mm = 2.5;

include <camera_plate.scad>

$fn = 48;
outer_mm = body_width_mm + 2 * wall_mm;

module saddle() {
    difference() {
        translate([-saddle_length_mm / 2, -outer_mm / 2, -lip_mm])
            cube([saddle_length_mm, outer_mm, lip_mm + wall_mm + tie_height_mm]);
        translate([-saddle_length_mm, -body_width_mm / 2, -2 * lip_mm])
            cube([2 * saddle_length_mm, body_width_mm, 2 * lip_mm]);
        for (x = [-1, 1]) translate([x * (saddle_length_mm / 2 - tie_width_mm) - tie_width_mm / 2, -outer_mm, wall_mm])
            cube([tie_width_mm, 2 * outer_mm, tie_height_mm + 1]);
    }
}

module at_plate() {
    translate([0, 0, wall_mm + stalk_mm]) rotate([0, 90 + tilt_deg, 0]) translate([-board_mm / 2 - 2, 0, 0]) children();
}

module stalk() {
    hull() {
        translate([-4, -12, wall_mm / 2]) cube([8, 24, 1]);
        at_plate() translate([board_mm / 2 + 1, -12, 0]) cube([1, 24, plate_mm]);
    }
}

saddle();
stalk();
at_plate() camera_plate();
