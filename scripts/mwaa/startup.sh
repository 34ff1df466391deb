# MWAA sources this on every container before it installs requirements.txt.
#
# It exports nothing: all our settings are Airflow options (`cd2.*`), and Terraform sets Airflow's own. Its purpose: MWAA
# only logs a failed install and starts Airflow without our packages. The usual cause is a constraints file that is not in
# the dags folder; this script reports that in the startup log of each component.
#
# No `exit` and no `set -e`: MWAA sources this script into its own shell.

cd2_requirements=${CD2_REQUIREMENTS:-/usr/local/airflow/requirements/requirements.txt}
if [ -r "$cd2_requirements" ]; then
    cd2_constraints=$(sed -n -e 's/^-c /--constraint /' \
        -e 's/^--constraint[ =]*"\{0,1\}\([^"]*\)"\{0,1\}[[:space:]]*$/\1/p' "$cd2_requirements")
    for cd2_file in $cd2_constraints; do
        if [ -r "$cd2_file" ]; then
            echo "Canvas Data 2: requirements.txt will be installed with $cd2_file."
        else
            echo "Canvas Data 2: $cd2_file is missing, so requirements.txt cannot be installed and the DAG will fail:" \
                "put it into the dags folder of the bucket (make deploy does) and update the environment."
        fi
    done
fi
unset cd2_requirements cd2_constraints cd2_file
